/* What systemd wants to know of a service (sd_notify's protocol): one datagram per state, to $NOTIFY_SOCKET. */
#ifndef MYR_CLI_NOTIFY_H
#define MYR_CLI_NOTIFY_H

/* "READY=1", "STOPPING=1", "RELOADING=1\nMONOTONIC_USEC=…". Without a service manager, or when it does not listen:
 * nothing happens. */
void myr_notify(const char *state);
void myr_notify_reloading(void);

#endif
