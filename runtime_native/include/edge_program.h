/* One compiled program (.pte) for whoever embeds the runtime: open, describe, run, free. C99; in libedge-program.
 * It does not know what the tensors mean.
 *
 * Errors   Every call that can fail returns 0, or the code that edge-run would end with: 2 the call makes no sense,
 *          4 the file is missing, altered or no such program, 10 it failed while running, 1 anything else, such as too
 *          little memory. `message` then holds one line that says what is wrong, where, and what to do next, in UTF-8 where
 *          what was given is: cut to `message_bytes` with its final NUL, empty after success, NULL for none. A required pointer that is
 *          NULL is such an error (2). No C++ exception leaves a call.
 * Threads  Any thread may make any call: one lock has all calls that open, run or free wait for one another, whichever
 *          program they are for, for they share one pool of threads. Whoever frees a program sees to it that no other
 *          call still holds it. A program that was opened before fork() is not to be used in the child.
 * Memory   What a call is given is read during the call, and never kept. What it hands out belongs to the program, and
 *          goes when the program is freed; the caller's outputs are written to when a run was successful, else not at all.
 * Process  The library cannot be unloaded. It takes ExecuTorch's log, of which its messages hold the reasons. While
 *          packed weights are written to a cache folder, SIGHUP, SIGINT and SIGTERM are put off.
 */
#ifndef EDGE_PROGRAM_H
#define EDGE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct edge_program edge_program;

/* Numbers are little-endian and in C order, without gaps. */
typedef struct edge_tensor {
  const char *name;
  const char *dtype;    /* "float32", "float16", "int32" or "int64" */
  const int64_t *shape; /* the sizes of its `dimensions` axes; may be NULL where there are none */
  size_t dimensions;
  size_t bytes;         /* in a description; not read where an expectation is given */
} edge_tensor;

/* All zeros but the path is the least that opens a program. */
typedef struct edge_program_options {
  const char *path;           /* required: the .pte */
  const char *sha256;         /* as the manifest says it, 64 hex digits; NULL: whatever file it is */
  int hashed;                 /* not 0: the caller has held the file against sha256 already; 0: that is done here */
  int threads;                /* CPU threads; 0: as the open programs have, or one for each fast core */
  const char *cache;          /* the folder of packed weights, as edge-run --cache has it; NULL: none */
  int64_t kept_bytes;         /* as the manifest says it; 0: this program's weights are never kept */
  const edge_tensor *inputs;  /* what it must take and give, in the order of the manifest's `position`; NULL and 0, */
  size_t input_count;         /* all four: whatever it does, and its tensors are called input_0, output_0, ... */
  const edge_tensor *outputs;
  size_t output_count;
} edge_program_options;

typedef struct edge_program_description {
  const edge_tensor *inputs;
  size_t input_count;
  const edge_tensor *outputs;
  size_t output_count;
  int threads;
  const char *note; /* what costs time and nothing else, such as a cache folder that cannot be written; NULL: nothing */
} edge_program_description;

typedef struct edge_input {
  const void *data;
  size_t bytes;
} edge_input;

typedef struct edge_output {
  void *data;
  size_t bytes;
} edge_output;

/* What a record says of the runtime that made it. */
typedef struct edge_program_runtime {
  const char *name, *version, *engine, *engine_version;
} edge_program_runtime;

/* Open a program, and hand it over in `*program`, for edge_program_free; NULL there after an error. The file must stay
 * as it is until then. A number of threads is for the whole process: another than that of the programs that are open is
 * an error. */
int edge_program_open(const edge_program_options *options, edge_program **program, char *message, size_t message_bytes);

/* What it takes and gives, in the order that edge_program_run has them. */
int edge_program_describe(const edge_program *program, edge_program_description *description, char *message,
                          size_t message_bytes);

/* One run, on all inputs, into all outputs, in the order of the description, each of the bytes that stand there. Memory
 * need not be aligned. */
int edge_program_run(edge_program *program, const edge_input *inputs, size_t input_count, const edge_output *outputs,
                     size_t output_count, char *message, size_t message_bytes);

/* Of NULL nothing. */
void edge_program_free(edge_program *program);

/* Never NULL, and there for ever. */
const edge_program_runtime *edge_program_version(void);

#ifdef __cplusplus
}
#endif

#endif
