// SPDX-License-Identifier: Apache-2.0
//! The filter, run as the kernel would run it.

use super::*;

/// Run a program over a message's header; false: dropped.
fn keeps(program: &[Instruction], port: u32) -> bool {
    let mut header = [0_u8; 16];
    header[12..].copy_from_slice(&port.to_ne_bytes());
    let mut at = 0;
    let mut accumulator = 0;
    loop {
        let step = program[at];
        at += 1;
        match step.code {
            LOAD_WORD => {
                let from = step.operand as usize;
                accumulator = u32::from_be_bytes(header[from..from + 4].try_into().expect("four bytes"));
            }
            JUMP_EQUAL => at += usize::from(if accumulator == step.operand { step.yes } else { step.no }),
            RETURN => return step.operand != 0,
            code => panic!("no such instruction: {code}"),
        }
    }
}

#[test]
fn only_the_ignored_ports_are_dropped() {
    let ports: Vec<u32> = (0..1000).map(|number| number * 4_294_967 + 1).collect();
    let program = program(&ports);
    assert!(program.len() <= 4096);
    assert!(ports.iter().all(|&port| !keeps(&program, port)));
    assert!(ports.iter().all(|&port| keeps(&program, port + 1)));
    assert!(keeps(&super::program(&[]), 7));
}

#[test]
fn nothing_of_other_subsystems_is_a_change() {
    assert_eq!(name(wire::NEW_TABLE), Some("new table"));
    assert_eq!(name(0x0100), None);
    assert_eq!(name(wire::NEW_GENERATION), None);
}
