/* A file that shrinks under its mapping raises SIGBUS: the program survives it, and what read the pages is told. */
#ifndef MYR_CLI_GUARD_H
#define MYR_CLI_GUARD_H

/* Once, at the start of the program. The library never touches signals. */
void myr_guard_install(void);

#endif
