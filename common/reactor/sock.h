/* reactor/sock.h - inside the room: addresses and options of sockets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define CW_SOCK_NAME_SIZE 128
#define CW_SOCK_UNIX "unix:"

struct cw_sock_addr {
    struct sockaddr_storage ss;
    socklen_t len;
};

/* "HOST:PORT" or "unix:PATH". 0; -EINVAL: not an address; -EAGAIN: HOST is a name, to be resolved.
 */
int cw_sock_addr_parse(const char *text, bool any_port, struct cw_sock_addr *ret);

/* The same for names; blocks, so it runs on a thread of its own. 0, or -EADDRNOTAVAIL. */
int cw_sock_addr_resolve(const char *text, struct cw_sock_addr *ret);

/* "127.0.0.1:80", "[::1]:80", "unix:PATH". */
void cw_sock_addr_name(const struct cw_sock_addr *a, char name[static CW_SOCK_NAME_SIZE]);

/* A blocking socket (io_uring waits for it by itself) of a's family; negative errno. */
int cw_sock_open(const struct cw_sock_addr *a);

/* TCP: no delay, keepalive, give up on a silent peer. Makes any socket blocking. */
void cw_sock_tune(int fd);

/* Who is at the other end of a connected socket; *ret_local: it is a unix socket. */
void cw_sock_peer_name(int fd, char name[static CW_SOCK_NAME_SIZE], bool *ret_local);
