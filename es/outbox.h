/* outbox.h - the documents that Elasticsearch has not acknowledged yet: a table beside the documents, written in the same
 * transaction, so that a crash leaves both or neither. Its rows are kept only where a remote is configured.
 * A row is the document's id and a generation, so that an acknowledgement of an older version does not settle a newer one. */
#pragma once
#include "mirror.h"

/* All return LMDB's codes: they are steps of the caller's transaction. */
int outbox_put(MDB_txn *, MDB_dbi, struct str id);                          /* the document was stored in this transaction */
int outbox_settle(MDB_txn *, MDB_dbi, struct str id, uint64_t generation);  /* acknowledged; 0 also when a newer one waits */
/* The first row behind after (STR_NONE: the first of all). id is a view into the transaction. MDB_NOTFOUND at the end. */
int outbox_next(MDB_txn *, MDB_dbi, struct str after, struct str *id, uint64_t *generation);
