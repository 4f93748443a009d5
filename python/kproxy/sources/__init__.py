# SPDX-License-Identifier: Apache-2.0
"""Where objects come from. Every source is an ``objects.events.Source`` and knows nothing of routes.

- ``kubernetes``: an API server, listed and watched::

      transport = connect(kubeconfig, master, clock=clock, observer=observer)   # ConfigError
      await KubernetesSource(transport, watches_of(node_name), clock=clock, observer=observer).run(emit)
      await transport.post(path, body)        # the same connection writes Events
      await transport.close()

  with ``kubernetes.transport.connect``, ``kubernetes.source.KubernetesSource`` and ``watches.watches_of``
- ``directory``: manifest files, ``DirectorySource(path, watches_of(node_name), clock=clock)``
- ``host``: this node's own addresses, ``HostSource(clock=clock)``
- ``replay``: ``Recorder(path, emit)`` writes events down, ``ReplaySource(path)`` tells them again
- ``watches``, ``selectors``: what is asked for, shared by the first two
"""
