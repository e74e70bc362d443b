"""Starting jobs: on this host, on a pod, many of them."""
