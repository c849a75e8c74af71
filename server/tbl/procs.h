/* The processes: one job each. PROC(kind, title, main, how many, what it may still do, text)
 * how many: ONE, WORKERS (the setting). identity: UNPRIVILEGED, KEEPS_CA (the one child that keeps the CA's descriptor). */
PROC(certgen, "certgen",   certgen_main, ONE,     KEEPS_CA,     "signs leaf certificates; alone has the CA's key")
PROC(worker,  "worker",    worker_main,  WORKERS, UNPRIVILEGED, "accepts, decrypts, decides, fetches, delivers")
PROC(janitor, "janitor",   janitor_main, ONE,     UNPRIVILEGED, "keeps the store within its watermarks")
PROC(admin,   "admin",     admin_main,   ONE,     UNPRIVILEGED, "health, readiness, metrics, debug pages")
#undef PROC
