// count is a plugin for QEMU's user emulation. It counts the instructions of a
// Go test binary inside the loop of each benchmark, function by function.
//
// A loop is what lies between two calls of testing.(*B).loopSlowPath, which
// b.Loop makes before the first iteration and after the last. After each
// benchmark one line goes to standard error, in the order of the benchmarks:
//
//	instructions TOTAL FUNCTION=COUNT FUNCTION=COUNT ...  (tabs between)
//
// The functions are those with at least one instruction in 500.

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What is used of the interface for plugins, version 1, which QEMU 4.2 to 8.2
// load. Debian has no package with its header.
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int flags, void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

// function is one of the program's.
struct function {
	char *name;
	uint64_t now;  // instructions since the last call of loopSlowPath
	uint64_t kept; // those of the longest stretch so far, which is the loop
};

// block is a piece of code without a branch.
struct block {
	struct function *in;
	size_t instructions;
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; // guards all but function.now
static struct function *functions[1 << 16];            // by hash, with open addressing
static enum { before, within, after } loop;            // of a benchmark
static uint64_t longest;                               // stretch within it

// find is called with mu held. The table is far larger than a program.
static struct function *find(const char *name)
{
	uint32_t h = 2166136261;
	for (const char *c = name; *c; c++)
		h = (h ^ (unsigned char)*c) * 16777619;
	for (;; h++) {
		struct function **f = &functions[h & 0xffff];
		if (!*f) {
			*f = calloc(1, sizeof **f);
			(*f)->name = strdup(name);
		}
		if (strcmp((*f)->name, name) == 0)
			return *f;
	}
}

static void executed(unsigned cpu, void *data)
{
	struct block *b = data;
	__atomic_fetch_add(&b->in->now, b->instructions, __ATOMIC_RELAXED);
}

// stretched ends a stretch, and keeps it if it is the longest of the loop.
static void stretched(unsigned cpu, void *data)
{
	uint64_t total = 0;
	pthread_mutex_lock(&mu);
	for (size_t i = 0; i < 1 << 16; i++)
		if (functions[i])
			total += functions[i]->now;
	bool keep = loop == within && total > longest;
	if (keep)
		longest = total;
	for (size_t i = 0; i < 1 << 16; i++) {
		if (!functions[i])
			continue;
		if (keep)
			functions[i]->kept = functions[i]->now;
		functions[i]->now = 0;
	}
	if (loop == before)
		loop = within;
	pthread_mutex_unlock(&mu);
}

// started is the start of a benchmark.
static void started(unsigned cpu, void *data)
{
	pthread_mutex_lock(&mu);
	loop = before;
	longest = 0;
	pthread_mutex_unlock(&mu);
}

// stopped is the end of a loop, and once more that of the benchmark around it.
static void stopped(unsigned cpu, void *data)
{
	pthread_mutex_lock(&mu);
	if (loop == within) {
		fprintf(stderr, "instructions\t%" PRIu64, longest);
		for (size_t i = 0; i < 1 << 16; i++)
			if (functions[i] && functions[i]->kept >= longest / 500)
				fprintf(stderr, "\t%s=%" PRIu64, functions[i]->name, functions[i]->kept);
		fprintf(stderr, "\n");
	}
	loop = after;
	pthread_mutex_unlock(&mu);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	const char *name = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
	struct block *b = malloc(sizeof *b);
	pthread_mutex_lock(&mu);
	b->in = find(name && *name ? name : "?");
	b->instructions = qemu_plugin_tb_n_insns(tb);
	pthread_mutex_unlock(&mu);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, b);
	if (strcmp(b->in->name, "testing.(*B).loopSlowPath") == 0)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, stretched, 0, NULL);
	if (strcmp(b->in->name, "testing.(*B).StartTimer") == 0)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, started, 0, NULL);
	if (strcmp(b->in->name, "testing.(*B).StopTimer") == 0)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, stopped, 0, NULL);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
