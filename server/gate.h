/* gate.h - who may use the proxy, and for what: clients' addresses, CONNECT's ports, passwords, destinations. */
#pragma once
#include "../common/destination.h"

struct request;
struct worker;
struct htpasswd;
/* What this client may reach, for httpc: clients on this machine its own loopback addresses, too. IPv4 mapped. */
struct destinations gate_destinations(const struct in6_addr *client);
/* Is the request refused? Then its answer is made, and says by which setting. Asked for each request: a change of settings holds for connections
 * that are open. */
bool gate_refuses(struct request *);
/* The users, as the settings say now; NULL with *problem 0: nobody must say who he is. With a problem: the file is wrong. */
struct htpasswd *gate_users(char *problem);
void gate_reload(struct worker *); /* SIGHUP; a file that is wrong leaves the old users in force */
