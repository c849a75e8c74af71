/* main.c - the program: settings, then what the command line asks for. */
int main(void) { return 0; }
