"""What no kernel computes, compiled by TVM. Without this folder such nodes are refused."""
