/* Sends prepared requests to one address over keep-alive connections, and writes down every answer.
 *
 *     drive PORT REQUESTS ANSWERS --connections N --seconds S [--rate PER_SECOND] [--first INDEX] [--count N] [--again 1]
 *
 * REQUESTS holds whole HTTP requests, each behind its length (4 bytes, little-endian). Without a rate each connection
 * sends its next request when the last one is answered (a closed model). With a rate, requests fall due at fixed times
 * whatever the server does (an open model), and latency counts from the moment that a request was due.
 * With `--again 1` the requests are sent from the first on again when the last was sent, for as long as it takes.
 * ANSWERS gets a line for each request: index, status (0: no answer), microseconds, body. A summary goes to standard
 * output as JSON. Only loopback is ever addressed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_LIMIT 16384

typedef struct {
    int socket, busy;
    long index;
    double due;
    size_t sent, got;
    char answer[ANSWER_LIMIT + 1];
} connection;

static const char *requests;
static uint64_t *offsets;
static long total, next_index, last_index, answered, lost, by_status[600];
static double *latencies;
static long latencies_room;
static FILE *answers;
static struct sockaddr_in address;
static int poller;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void load(const char *path) {
    int file = open(path, O_RDONLY);
    struct stat facts;
    if (file < 0 || fstat(file, &facts) < 0) die(path);
    requests = mmap(NULL, facts.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (requests == MAP_FAILED) die("mmap");
    long room = 1024;
    offsets = malloc(room * sizeof *offsets);
    for (uint64_t at = 0; at + 4 <= (uint64_t)facts.st_size; total++) {
        uint32_t length;
        memcpy(&length, requests + at, 4);
        if (total == room) offsets = realloc(offsets, (room *= 2) * sizeof *offsets);
        offsets[total] = at;
        at += 4 + length;
    }
}

static void open_connection(connection *one) {
    one->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int yes = 1;
    setsockopt(one->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    /* Whoever lets nobody in holds up this one connection, and not all of them. */
    if (connect(one->socket, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, one->socket, &event) < 0) die("epoll_ctl");
}

static void watch(connection *one, uint32_t what) {
    struct epoll_event event = {.events = what, .data.ptr = one};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, one->socket, &event) < 0) die("epoll_ctl");
}

static void finish(connection *one, int status, const char *body) {
    double spent = now() - one->due;
    if (answered == latencies_room) latencies = realloc(latencies, (latencies_room *= 2) * sizeof *latencies);
    latencies[answered++] = spent;
    by_status[status]++;
    if (status == 0) lost++;
    fprintf(answers, "%ld %d %.0f %s\n", one->index, status, spent * 1e6, body);
    one->busy = 0;
}

static void reconnect(connection *one) {
    close(one->socket);
    if (one->busy) finish(one, 0, "-");
    open_connection(one);
}

static void send_rest(connection *one) {
    uint32_t length;
    memcpy(&length, requests + offsets[one->index], 4);
    while (one->sent < length) {
        ssize_t wrote = send(one->socket, requests + offsets[one->index] + 4 + one->sent, length - one->sent, MSG_NOSIGNAL);
        if (wrote < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN)) return watch(one, EPOLLIN | EPOLLOUT);
        if (wrote < 0) return reconnect(one);
        one->sent += wrote;
    }
}

static void begin(connection *one, double due) {
    one->busy = 1;
    one->index = next_index++ % total;
    one->due = due;
    one->sent = one->got = 0;
    send_rest(one);
}

static void receive(connection *one) {
    ssize_t read = recv(one->socket, one->answer + one->got, ANSWER_LIMIT - one->got, 0);
    if (read < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (read <= 0) return reconnect(one);
    one->got += read;
    one->answer[one->got] = 0;
    char *body = strstr(one->answer, "\r\n\r\n");
    if (!body) return;
    body += 4;
    char *length = strcasestr(one->answer, "\r\ncontent-length:");
    size_t wanted = length && length < body ? strtoul(length + 17, NULL, 10) : 0;
    if ((size_t)(one->answer + one->got - body) < wanted) return;
    for (char *at = body; *at; at++)
        if (*at == '\n') *at = ' ';
    int closes = strcasestr(one->answer, "\r\nconnection: close") != NULL;
    finish(one, atoi(one->answer + 9), body);
    if (closes) reconnect(one);
}

static void serve(struct epoll_event *event) {
    connection *one = event->data.ptr;
    if (event->events & EPOLLOUT && one->busy) {
        watch(one, EPOLLIN);
        send_rest(one);
    }
    if (event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(one);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    return answered ? latencies[(long)(share * (answered - 1))] * 1e3 : 0;
}

int main(int count, char **words) {
    if (count < 4) {
        fprintf(stderr, "usage: drive PORT REQUESTS ANSWERS --connections N --seconds S [--rate R] [--first I] [--count N] [--again 1]\n");
        return 2;
    }
    int connections = 32;
    double seconds = 5, rate = 0;
    long first = 0, most = -1, again = 0;
    for (int at = 4; at + 1 < count; at += 2) {
        if (!strcmp(words[at], "--connections")) connections = atoi(words[at + 1]);
        if (!strcmp(words[at], "--seconds")) seconds = atof(words[at + 1]);
        if (!strcmp(words[at], "--rate")) rate = atof(words[at + 1]);
        if (!strcmp(words[at], "--first")) first = atol(words[at + 1]);
        if (!strcmp(words[at], "--count")) most = atol(words[at + 1]);
        if (!strcmp(words[at], "--again")) again = atol(words[at + 1]);
    }
    load(words[2]);
    next_index = first;
    last_index = most >= 0 && first + most < total ? first + most : again ? LONG_MAX : total;
    latencies = malloc((latencies_room = 1 << 16) * sizeof *latencies);
    if (!(answers = fopen(words[3], "a"))) die(words[3]);
    address.sin_family = AF_INET;
    address.sin_port = htons(atoi(words[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(0);
    connection *all = calloc(connections, sizeof *all);
    for (int one = 0; one < connections; one++) open_connection(&all[one]);

    double began = now(), until = began + seconds, deadline = until + 30;
    int busy = 0;
    for (;;) {
        double at = now();
        int more = at < until && next_index < last_index;
        for (int one = 0; one < connections && more; one++) {
            if (all[one].busy) continue;
            double due = rate > 0 ? began + (next_index - first) / rate : at;
            if (due > at) break;
            begin(&all[one], due);
            more = next_index < last_index;
        }
        busy = 0;
        for (int one = 0; one < connections; one++) busy += all[one].busy;
        if (!more && !busy) break;
        if (at > deadline) break;
        struct epoll_event events[256];
        int wait = rate > 0 ? 0 : 100;
        if (rate > 0 && more) {
            double due = began + (next_index - first) / rate - now();
            struct timespec rest = {0, (long)(due > 0.001 ? 1e6 : due > 0 ? due * 1e9 : 0)};
            int ready = epoll_pwait2(poller, events, 256, &rest, NULL);
            for (int one = 0; one < ready; one++) serve(&events[one]);
            continue;
        }
        int ready = epoll_wait(poller, events, 256, wait ? wait : 10);
        for (int one = 0; one < ready; one++) serve(&events[one]);
    }
    double spent = now() - began;
    for (int one = 0; one < connections; one++)
        if (all[one].busy) finish(&all[one], 0, "-");
    fclose(answers);
    qsort(latencies, answered, sizeof *latencies, ascending);
    printf("{\"answered\": %ld, \"unanswered\": %ld, \"next\": %ld, \"seconds\": %.4f, \"per_second\": %.1f, ", answered - lost,
           lost, next_index, spent, (answered - lost) / spent);
    printf("\"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"statuses\": {", percentile(0.5),
           percentile(0.9), percentile(0.99), percentile(1));
    for (int status = 0, any = 0; status < 600; status++)
        if (by_status[status]) printf("%s\"%d\": %ld", any++ ? ", " : "", status, by_status[status]);
    printf("}}\n");
    return 0;
}
