/* signals.h - signals by name: "USR1", "SIGUSR1", "10" */
#ifndef SLUIS_PROTO_CONFIG_SIGNALS_H
#define SLUIS_PROTO_CONFIG_SIGNALS_H

/* The number of a signal, 0 for a text that names none. Case does not matter. */
int signal_number(const char *text);
/* "USR1" of 10; "?" for a number without a name. */
const char *signal_text(int number);

#endif
