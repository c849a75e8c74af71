/* The processes: one job each. PROC(kind, title, main, how many, what it may still do, text)
 * how many: ONE, WORKERS (the setting), FLEET (one when S3 is configured, else none).
 * what it may: UNPRIVILEGED: SANDBOX_SERVE from its first step (common/sandbox.h); KEEPS_CA: the same, but it has the CA's descriptor, and
 * enters SANDBOX_SIGN when it has read the key (certgen/confine.h). The master, whom nobody outside talks to, forks them and is in none. */
PROC(certgen, "certgen",   certgen_main, ONE,     KEEPS_CA,     "signs leaf certificates; alone has the CA's key")
PROC(worker,  "worker",    worker_main,  WORKERS, UNPRIVILEGED, "accepts, decrypts, decides, fetches, delivers")
PROC(uploader, "uploader", uploader_main, FLEET,  UNPRIVILEGED, "sends what is new to S3 and then to Elasticsearch, hears what other nodes have purged")
PROC(janitor, "janitor",   janitor_main, ONE,     UNPRIVILEGED, "keeps the store within its watermarks")
PROC(admin,   "admin",     admin_main,   ONE,     UNPRIVILEGED, "health, readiness, metrics, debug pages")
#undef PROC
