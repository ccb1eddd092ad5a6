int lib() { return 0; }
