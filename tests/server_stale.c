/* SPDX-License-Identifier: MIT */
/*
 * server_stale.c - a late libuv callback, for a connection that was closed, finds a
 * stale ref; with a raw pointer it finds the next client's connection.
 *
 * A server in small, as zstd-server is in large: a connection comes from a pool,
 * and what libuv calls back has a name for it: its ref, or, in the same code, its
 * address. The first client's connection is closed and the second's takes its
 * place in memory, which the tests make sure of, before libuv comes to call:
 * with a write that was cancelled, or with an answer that was made by another
 * thread. One loop, and nothing is left to chance.
 */
#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <tide.h>
#include <unistd.h>
#include <uv.h>

#define FIRST  "for the first client only\n"
#define SECOND "for the second client only\n"

/* What libuv has its hands in, until its close callback. */
struct socket {
	uv_pipe_t pipe; /* its data is the name of the connection */
	uv_write_t write;
};

struct conn {
	struct socket *socket;
	char client[32];
};

struct server {
	uv_loop_t loop; /* its data is the server */
	tide_pool *conns;
	bool by_ref; /* names are refs; else pointers */
	unsigned open;
	unsigned writing;
	unsigned stale;
	unsigned late; /* callbacks that came late, whatever they found */
};

struct answer {
	uv_work_t work;
	struct server *server;
	void *name;
	uv_sem_t may_end;
	char text[32];
};

static void *
name_of(const struct server *server, struct conn *conn)
{
	if (server->by_ref)
		return (void *)(uintptr_t)tide_ref_of(server->conns, conn);
	return conn;
}

/* What every callback begins with: whose is it? */
static struct conn *
enter(struct server *server, void *name)
{
	struct conn *conn = name;

	if (server->by_ref)
		conn = tide_pin(server->conns, (uintptr_t)name);
	if (!conn)
		server->stale++;
	return conn;
}

static void
leave(struct server *server, struct conn *conn)
{
	if (server->by_ref)
		tide_unpin(server->conns, conn);
}

static void
on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void
close_conn(struct server *server, struct conn *conn)
{
	uv_close((uv_handle_t *)&conn->socket->pipe, on_closed);
	tide_put(server->conns, conn);
	server->open--;
}

static void
on_written(uv_write_t *write, int status)
{
	struct server *server = write->handle->loop->data;
	struct conn *conn;

	server->writing--;
	server->late += status < 0;
	conn = enter(server, write->handle->data);
	if (!conn)
		return;
	if (status < 0)
		close_conn(server, conn);
	leave(server, conn);
}

static void
send_text(struct server *server, struct conn *conn, char *text, size_t len)
{
	uv_buf_t buf = uv_buf_init(text, (unsigned)len);

	server->writing++;
	ck_assert_int_eq(uv_write(&conn->socket->write, (uv_stream_t *)&conn->socket->pipe, &buf, 1,
				  on_written),
			 0);
}

static void
make_answer(uv_work_t *work)
{
	struct answer *answer = (struct answer *)(void *)work;

	uv_sem_wait(&answer->may_end);
	strcpy(answer->text, FIRST);
}

static void
on_answer(uv_work_t *work, int status)
{
	struct answer *answer = (struct answer *)(void *)work;
	struct conn *conn = enter(answer->server, answer->name);

	ck_assert_int_eq(status, 0);
	answer->server->late++;
	if (!conn)
		return;
	send_text(answer->server, conn, answer->text, strlen(answer->text));
	leave(answer->server, conn);
}

/* A new client, whose end is *client. */
static struct conn *
accept_conn(struct server *server, int *client)
{
	struct conn *conn = tide_get(server->conns);
	int fds[2];

	ck_assert_ptr_nonnull(conn);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	*client = fds[1];
	conn->socket = malloc(sizeof(*conn->socket));
	ck_assert_ptr_nonnull(conn->socket);
	uv_pipe_init(&server->loop, &conn->socket->pipe, 0);
	ck_assert_int_eq(uv_pipe_open(&conn->socket->pipe, fds[0]), 0);
	conn->socket->pipe.data = name_of(server, conn);
	server->open++;
	return conn;
}

static void
start(struct server *server, bool by_ref)
{
	struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = "conns",
		.object_bytes = sizeof(struct conn),
		.reset = tide_reset_zero,
	};

	*server = (struct server){ .by_ref = by_ref };
	ck_assert_int_eq(uv_loop_init(&server->loop), 0);
	server->loop.data = server;
	server->conns = tide_pool_create(&config);
	ck_assert_ptr_nonnull(server->conns);
}

static void
wait_for_late(struct server *server)
{
	while (!server->late)
		uv_run(&server->loop, UV_RUN_ONCE);
}

static void
finish_writes(struct server *server)
{
	while (server->writing)
		uv_run(&server->loop, UV_RUN_ONCE);
}

/* The second client gets its answer, if it is still there; then all ends. */
static void
finish(struct server *server, struct conn *second)
{
	static char text[] = SECOND;

	finish_writes(server);
	if (server->open) {
		send_text(server, second, text, strlen(text));
		finish_writes(server);
		close_conn(server, second);
	}
	uv_run(&server->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&server->loop), 0);
	ck_assert_int_eq(tide_check(), 0);
	ck_assert_int_eq(tide_pool_destroy(server->conns), 0);
}

/* All that the client was sent, up to the end. */
static void
read_all(int client, char *text, size_t text_bytes)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(client, text + len, text_bytes - 1 - len)) > 0)
		len += (size_t)n;
	ck_assert_int_eq(n, 0);
	text[len] = '\0';
	close(client);
}

/*
 * The first client takes nothing in and is closed, for being idle perhaps, with
 * a write under way. Returns what the second client got.
 */
static const char *
cancel_a_write(struct server *server, bool by_ref)
{
	static char big[4 << 20], got[256];
	struct conn *first, *second;
	int clients[2];

	start(server, by_ref);
	first = accept_conn(server, &clients[0]);
	send_text(server, first, big, sizeof(big));
	uv_run(&server->loop, UV_RUN_NOWAIT);
	ck_assert_uint_gt(uv_stream_get_write_queue_size((uv_stream_t *)&first->socket->pipe), 0);
	close_conn(server, first);
	second = accept_conn(server, &clients[1]);
	ck_assert_ptr_eq(second, first);
	wait_for_late(server);
	finish(server, second);
	close(clients[0]);
	read_all(clients[1], got, sizeof(got));
	return got;
}

/* The first client goes away while another thread works for it. Returns the same. */
static const char *
finish_an_answer(struct server *server, bool by_ref)
{
	static struct answer answer;
	static char got[256];
	struct conn *first, *second;
	int clients[2];

	start(server, by_ref);
	first = accept_conn(server, &clients[0]);
	answer.server = server;
	answer.name = name_of(server, first);
	ck_assert_int_eq(uv_sem_init(&answer.may_end, 0), 0);
	ck_assert_int_eq(uv_queue_work(&server->loop, &answer.work, make_answer, on_answer), 0);
	close_conn(server, first);
	second = accept_conn(server, &clients[1]);
	ck_assert_ptr_eq(second, first);
	uv_sem_post(&answer.may_end);
	wait_for_late(server);
	finish(server, second);
	uv_sem_destroy(&answer.may_end);
	close(clients[0]);
	read_all(clients[1], got, sizeof(got));
	return got;
}

START_TEST(a_cancelled_write_finds_a_stale_ref)
{
	struct server server;

	ck_assert_str_eq(cancel_a_write(&server, true), SECOND);
	ck_assert_uint_eq(server.stale, 1);
}
END_TEST

START_TEST(with_pointers_a_cancelled_write_closes_the_next_client)
{
	struct server server;

	ck_assert_str_eq(cancel_a_write(&server, false), "");
	ck_assert_uint_eq(server.stale, 0);
}
END_TEST

START_TEST(a_late_answer_finds_a_stale_ref)
{
	struct server server;

	ck_assert_str_eq(finish_an_answer(&server, true), SECOND);
	ck_assert_uint_eq(server.stale, 1);
}
END_TEST

START_TEST(with_pointers_a_late_answer_goes_to_the_next_client)
{
	struct server server;

	ck_assert_str_eq(finish_an_answer(&server, false), FIRST SECOND);
	ck_assert_uint_eq(server.stale, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("server_stale");
	TCase *tcase = tcase_create("late callbacks");
	SRunner *runner = srunner_create(suite);
	int failed;

	/* That the next connection takes the last one's place is the default only. */
	unsetenv("TIDEDEBUG");
	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 20);
	tcase_add_test(tcase, a_cancelled_write_finds_a_stale_ref);
	tcase_add_test(tcase, with_pointers_a_cancelled_write_closes_the_next_client);
	tcase_add_test(tcase, a_late_answer_finds_a_stale_ref);
	tcase_add_test(tcase, with_pointers_a_late_answer_goes_to_the_next_client);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
