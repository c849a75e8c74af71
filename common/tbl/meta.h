/* A stored response. META(member, type, its name in the Elasticsearch document; "" for none)
 * The first block is behaviour.md 4.5; what follows are our additions, which older readers ignore. */
META(id,            str,     "")              /* document id: scheme/host/hash[+variant] */
META(status,        i64,     "status_code")
META(url,           str,     "url")           /* original, cut to 512 bytes */
META(extension,     str,     "extension")
META(content_size,  i64,     "content_size")  /* bytes of the whole body; -1 unknown */
META(stored_at,     i64,     "stored_at")     /* ms: when it was received or last validated */
META(last_access,   i64,     "last_access")   /* ms */
META(headers,       headers, "headers")       /* end-to-end fields as the origin sent them, less Age when corrected into initial_age */
META(vary,          str,     "vary")          /* the Vary value */
META(vary_request,  str,     "vary_request")  /* behaviour.md 4.3: the raw selecting string */
META(doc_type,      str,     "doc_type")      /* "metadata" or "vary_index" */
META(manifest,      str,     "manifest_b64")  /* raw bytes of behaviour.md 4.7; empty for an empty body */
META(request_time,  i64,     "px_request_time")  /* ms: RFC 9111 4.2.3 */
META(response_time, i64,     "px_response_time") /* ms */
META(date,          i64,     "px_date")          /* s: the Date field, or when it was received if there was none */
META(age_value,     i64,     "px_age")           /* s: the Age field, 0 if there was none */
META(flags,         i64,     "px_flags")         /* enum meta_flags */
META(minor,         i64,     "px_http_minor")    /* HTTP/1.minor of the origin */
META(reason,        str,     "px_reason")
META(unknown,       str,     "")                 /* JSON members of the document that we do not know, kept as they are */
#undef META
#undef META_TYPE_str
#undef META_TYPE_i64
#undef META_TYPE_headers
