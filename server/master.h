/* master.h - the parent of all: prepares everything that processes share, forks them, starts them again when they die, and stops them. */
#pragma once
int master_run(void);                        /* exit status */
void master_left(void);                      /* with -X: the worker, which is the master, too, is about to end the process */
void title_init(int argc, char **argv);      /* remembers where ps looks, before anything else */
void title_set(const char *title);           /* "passsage: title" */
