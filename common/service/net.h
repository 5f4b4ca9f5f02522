/* service/net.h - sockets by their addresses; for the files of this room. */
#pragma once

#include "common/service/rpc.h"

#define CW_NET_ADDR_SIZE 128 /* the longest: "unix:" and a socket path */

/* A listening, non-blocking socket. addr: "HOST:PORT" (port 0: any) or "unix:PATH"; a dead socket
 * file is replaced. real gets the address with its real port. 0 or -errno with why. */
int cw_net_listen(const char *addr, int *ret_fd, char real[static CW_NET_ADDR_SIZE],
                  char why[static CW_RPC_WHY_SIZE]);

/* A non-blocking socket whose connect is under way or done; writable when over. A host name is
 * resolved here, which may block; numeric addresses never do. */
int cw_net_connect(const char *addr, int *ret_fd, char why[static CW_RPC_WHY_SIZE]);

/* How the connect ended: 0 or -errno. */
int cw_net_connect_result(int fd);

/* TCP_NODELAY and the kernel's own watch over dead peers; nothing on a unix socket. */
void cw_net_tune(int fd);

/* The far end as text, "unix" for a unix socket. */
void cw_net_peer(int fd, char text[static CW_NET_ADDR_SIZE]);
