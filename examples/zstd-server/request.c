/* SPDX-License-Identifier: MIT */
/* request.c - http_parser's callbacks, and the judgement of what they found. */
#include "request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <zstd.h>

struct resource {
	const char *path;
	enum route route;
	unsigned methods; /* bits 1 << HTTP_GET ... */
	const char *allow;
};

#define READ_METHODS (1u << HTTP_GET | 1u << HTTP_HEAD)

static const struct resource resources[] = {
	{ "/compress", ROUTE_COMPRESS, 1u << HTTP_POST, "POST" },
	{ "/metrics", ROUTE_METRICS, READ_METHODS, "GET, HEAD" },
	{ "/health/live", ROUTE_LIVE, READ_METHODS, "GET, HEAD" },
	{ "/health/ready", ROUTE_READY, READ_METHODS, "GET, HEAD" },
};

/* The first error stays. */
static void __attribute__((format(printf, 3, 4)))
fail(struct request *request, int status, const char *format, ...)
{
	va_list args;

	if (request->status)
		return;
	request->status = status;
	va_start(args, format);
	vsnprintf(request->why, sizeof(request->why), format, args);
	va_end(args);
	chain_clear(&request->body, request->alloc);
}

static void
collect(char *to, size_t to_bytes, size_t *len, const char *at, size_t n)
{
	if (*len + n <= to_bytes)
		memcpy(to + *len, at, n);
	*len += n;
}

static bool
is_text(const char *bytes, size_t len, size_t max, const char *text)
{
	return len <= max && len == strlen(text) && strncasecmp(bytes, text, len) == 0;
}

static bool
is_field(const struct request *request, const char *name)
{
	return is_text(request->field, request->field_len, sizeof(request->field), name);
}

static bool
is_value(const struct request *request, const char *text)
{
	size_t len = request->value_len;

	while (len > 0 && len <= sizeof(request->value) &&
	       (request->value[len - 1] == ' ' || request->value[len - 1] == '\t'))
		len--;
	return is_text(request->value, len, sizeof(request->value), text);
}

static void
end_header(struct request *request)
{
	if (is_field(request, "host")) {
		request->hosts++;
	} else if (is_field(request, "expect")) {
		request->has_expect = true;
		if (!is_value(request, "100-continue"))
			fail(request, HTTP_STATUS_EXPECTATION_FAILED, "Expect: only 100-continue");
	} else if (is_field(request, "transfer-encoding")) {
		if (!is_value(request, "chunked"))
			fail(request, HTTP_STATUS_NOT_IMPLEMENTED,
			     "Transfer-Encoding: only chunked");
	}
	request->field_len = 0;
	request->value_len = 0;
	request->in_value = false;
}

/* A number and nothing else, from 1 to zstd's highest; 0 = not one. */
static int
parse_level(const char *text, size_t len)
{
	int level = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9' || level > ZSTD_maxCLevel())
			return 0;
		level = 10 * level + text[i] - '0';
	}
	return level <= ZSTD_maxCLevel() ? level : 0;
}

/* The only parameter is level, once. A misspelt one must not mean the default. */
static void
judge_query(struct request *request, const char *query, size_t len)
{
	static const char name[] = "level=";
	const size_t name_len = sizeof(name) - 1;

	request->level = ZSTD_CLEVEL_DEFAULT;
	if (len == 0)
		return;
	if (len < name_len || memcmp(query, name, name_len) != 0) {
		fail(request, HTTP_STATUS_BAD_REQUEST, "the only parameter is level");
		return;
	}
	request->level = parse_level(query + name_len, len - name_len);
	if (!request->level)
		fail(request, HTTP_STATUS_BAD_REQUEST, "level: a number from 1 to %d",
		     ZSTD_maxCLevel());
}

static bool
find_resource(struct request *request, const char *path, size_t len)
{
	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
		const struct resource *resource = &resources[i];

		if (len != strlen(resource->path) || memcmp(path, resource->path, len) != 0)
			continue;
		request->route = resource->route;
		request->allow = resource->allow;
		if (!(request->parser.method < 32 &&
		      resource->methods & 1u << request->parser.method))
			fail(request, HTTP_STATUS_METHOD_NOT_ALLOWED, "the methods are %s",
			     resource->allow);
		return true;
	}
	fail(request, HTTP_STATUS_NOT_FOUND, "there is no such resource");
	return false;
}

static void
judge_target(struct request *request)
{
	const char *target = request->target;
	struct http_parser_url url;
	const char *query;

	if (request->target_len > sizeof(request->target)) {
		fail(request, HTTP_STATUS_URI_TOO_LONG, "the target is too long");
		return;
	}
	http_parser_url_init(&url);
	if (http_parser_parse_url(target, request->target_len,
				  request->parser.method == HTTP_CONNECT, &url)) {
		fail(request, HTTP_STATUS_BAD_REQUEST, "the target is malformed");
		return;
	}
	if (!find_resource(request, target + url.field_data[UF_PATH].off,
			   url.field_data[UF_PATH].len))
		return;
	query = target + url.field_data[UF_QUERY].off;
	if (request->route == ROUTE_COMPRESS)
		judge_query(request, query, url.field_data[UF_QUERY].len);
}

static void
judge(struct request *request)
{
	const http_parser *parser = &request->parser;
	bool is_1_1 = parser->http_major == 1 && parser->http_minor >= 1;
	bool has_length = parser->flags & F_CONTENTLENGTH;

	if (parser->http_major != 1)
		fail(request, HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and 1.1");
	if (request->hosts > 1 || (is_1_1 && request->hosts == 0))
		fail(request, HTTP_STATUS_BAD_REQUEST, "one Host header is needed");
	judge_target(request);
	if (has_length && parser->content_length > request->max_body) {
		fail(request, HTTP_STATUS_PAYLOAD_TOO_LARGE, "the limit is %zu bytes",
		     request->max_body);
		request->rejected = true;
	}
	if (request->route == ROUTE_COMPRESS && !has_length && !(parser->flags & F_CHUNKED))
		fail(request, HTTP_STATUS_LENGTH_REQUIRED, "Content-Length or chunked is needed");
	/* It has not sent the body, and after this answer it may or may not. */
	if (request->status && request->has_expect && is_1_1)
		request->rejected = true;
}

static int
on_begin(http_parser *parser)
{
	struct request *request = parser->data;

	request->begun = true;
	return 0;
}

static int
on_url(http_parser *parser, const char *at, size_t n)
{
	struct request *request = parser->data;

	collect(request->target, sizeof(request->target), &request->target_len, at, n);
	return 0;
}

/* It is not known any more where the request ends. */
static int
reject(struct request *request, const char *why)
{
	fail(request, HTTP_STATUS_BAD_REQUEST, "%s", why);
	request->rejected = true;
	return -1;
}

static int
on_field(http_parser *parser, const char *at, size_t n)
{
	struct request *request = parser->data;

	if (request->has_headers)
		return 0;       /* a trailer */
	if (memchr(at, ' ', n)) /* Debian's parser is lenient, and smugglers love it */
		return reject(request, "a header's name has a space");
	if (request->in_value)
		end_header(request);
	collect(request->field, sizeof(request->field), &request->field_len, at, n);
	return 0;
}

static int
on_value(http_parser *parser, const char *at, size_t n)
{
	struct request *request = parser->data;

	if (request->has_headers)
		return 0;
	if (memchr(at, '\0', n)) /* the parser lets the first one through */
		return reject(request, "a header has a NUL");
	request->in_value = true;
	collect(request->value, sizeof(request->value), &request->value_len, at, n);
	return 0;
}

static int
on_headers(http_parser *parser)
{
	struct request *request = parser->data;

	if (request->in_value)
		end_header(request);
	request->has_headers = true;
	judge(request);
	return request->rejected ? -1 : 0;
}

static int
on_body(http_parser *parser, const char *at, size_t n)
{
	struct request *request = parser->data;

	if (n > request->max_body - request->received) { /* only chunked ones come here */
		fail(request, HTTP_STATUS_PAYLOAD_TOO_LARGE, "the limit is %zu bytes",
		     request->max_body);
		request->rejected = true;
		return -1;
	}
	request->received += n;
	if (!request->status && chain_append(&request->body, request->alloc, at, n))
		fail(request, HTTP_STATUS_SERVICE_UNAVAILABLE, "no memory for the body");
	return 0;
}

static int
on_complete(http_parser *parser)
{
	struct request *request = parser->data;

	request->complete = true;
	request->keep_alive = http_should_keep_alive(parser);
	http_parser_pause(parser, 1); /* what follows belongs to the next request */
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

void
request_init(struct request *request, struct alloc *alloc, size_t max_body)
{
	*request = (struct request){ .alloc = alloc, .max_body = max_body };
	http_parser_init(&request->parser, HTTP_REQUEST);
	request->parser.data = request;
}

void
request_next(struct request *request)
{
	http_parser parser = request->parser;

	chain_clear(&request->body, request->alloc);
	*request = (struct request){ .alloc = request->alloc, .max_body = request->max_body };
	request->parser = parser;
	request->parser.method = HTTP_GET; /* what cannot be parsed is no HEAD */
	if (HTTP_PARSER_ERRNO(&parser) == HPE_PAUSED)
		http_parser_pause(&request->parser, 0);
}

size_t
request_parse(struct request *request, const char *bytes, size_t n)
{
	size_t used = http_parser_execute(&request->parser, &settings, bytes, n);
	enum http_errno error = HTTP_PARSER_ERRNO(&request->parser);

	if (error == HPE_OK || request->complete || request->rejected)
		return used;
	if (error == HPE_HEADER_OVERFLOW)
		fail(request, HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE,
		     "the headers are too long");
	fail(request, HTTP_STATUS_BAD_REQUEST, "%s", http_errno_description(error));
	request->rejected = true;
	return used;
}

bool
request_wants_continue(const struct request *request)
{
	return request->has_headers && !request->complete && !request->rejected &&
	       request->has_expect && request->parser.http_minor >= 1 && request->received == 0;
}
