/* The processes: one job each. PROC(kind, title, main, how many, what it may still do, text)
 * how many: ONE, WORKERS (the setting), FLEET (one when S3 is configured, else none). identity: UNPRIVILEGED, KEEPS_CA (the one child that keeps the CA's descriptor). */
PROC(certgen, "certgen",   certgen_main, ONE,     KEEPS_CA,     "signs leaf certificates; alone has the CA's key")
PROC(worker,  "worker",    worker_main,  WORKERS, UNPRIVILEGED, "accepts, decrypts, decides, fetches, delivers")
PROC(uploader, "uploader", uploader_main, FLEET,  UNPRIVILEGED, "sends what is new to S3 and then to Elasticsearch, hears what other nodes have purged")
PROC(janitor, "janitor",   janitor_main, ONE,     UNPRIVILEGED, "keeps the store within its watermarks")
PROC(admin,   "admin",     admin_main,   ONE,     UNPRIVILEGED, "health, readiness, metrics, debug pages")
#undef PROC
