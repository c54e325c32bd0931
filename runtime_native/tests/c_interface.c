/* Plays one program by edge_program.h alone, as those would who embed it; tests/runtime_native/test_c_interface.py holds
 * what it prints and writes against Python. It knows nothing of bundles. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge_program.h"

enum { MOST_TENSORS = 16, MOST_SIZES = 8, MOST_THREADS = 8, MOST_TEXT = 512 };

typedef struct {
  edge_tensor tensors[MOST_TENSORS];
  int64_t shapes[MOST_TENSORS][MOST_SIZES];
  size_t count;
} tensor_list;

typedef struct {
  edge_input inputs[MOST_TENSORS];
  edge_output outputs[MOST_TENSORS];
  edge_program_description description;
} buffers;

static void stop(int code, const char *message) {
  fprintf(stderr, "%s\n", message);
  exit(code);
}

static void *memory(size_t bytes) {
  void *made = calloc(bytes, 1);
  if (made == NULL) stop(1, "no memory");
  return made;
}

static const char *or_null(const char *word) { return strcmp(word, "-") == 0 ? NULL : word; }

/* name/dtype/1/64/16 */
static void add_tensor(tensor_list *list, char *word) {
  edge_tensor *tensor = &list->tensors[list->count];
  const char *size;
  tensor->name = strtok(word, "/");
  tensor->dtype = strtok(NULL, "/");
  tensor->shape = list->shapes[list->count++];
  while ((size = strtok(NULL, "/")) != NULL) list->shapes[list->count - 1][tensor->dimensions++] = atol(size);
}

static void print_tensors(const char *side, const edge_tensor *tensors, size_t count) {
  size_t index, axis;
  for (index = 0; index < count; ++index) {
    printf("%s %s %s", side, tensors[index].name, tensors[index].dtype);
    for (axis = 0; axis < tensors[index].dimensions; ++axis) printf(" %ld", (long)tensors[index].shape[axis]);
    printf(" : %lu\n", (unsigned long)tensors[index].bytes);
  }
}

static void move_file(const char *folder, const char *side, size_t index, const char *mode, void *data, size_t bytes) {
  char path[4096];
  FILE *file;
  snprintf(path, sizeof path, "%s/%s_%lu", folder, side, (unsigned long)index);
  file = fopen(path, mode);
  if (file == NULL) stop(1, path);
  if ((*mode == 'r' ? fread(data, 1, bytes, file) : fwrite(data, 1, bytes, file)) != bytes) stop(1, path);
  fclose(file);
}

static void fill(buffers *into, const edge_program *program, const char *folder) {
  char message[MOST_TEXT];
  size_t index;
  const int code = edge_program_describe(program, &into->description, message, sizeof message);
  if (code != 0) stop(code, message);
  for (index = 0; index < into->description.input_count; ++index) {
    const size_t bytes = into->description.inputs[index].bytes;
    void *data = memory(bytes);
    move_file(folder, "input", index, "rb", data, bytes);
    into->inputs[index].data = data;
    into->inputs[index].bytes = bytes;
  }
  for (index = 0; index < into->description.output_count; ++index) {
    into->outputs[index].bytes = into->description.outputs[index].bytes;
    into->outputs[index].data = memory(into->outputs[index].bytes);
  }
}

static void empty(buffers *all) {
  size_t index;
  for (index = 0; index < all->description.input_count; ++index) free((void *)all->inputs[index].data);
  for (index = 0; index < all->description.output_count; ++index) free(all->outputs[index].data);
}

static edge_program *open_or_stop(const edge_program_options *options) {
  char message[MOST_TEXT];
  edge_program *program = NULL;
  const int code = edge_program_open(options, &program, message, sizeof message);
  if (code != 0) stop(code, message);
  return program;
}

static void run_or_stop(edge_program *program, const buffers *all) {
  char message[MOST_TEXT];
  const int code = edge_program_run(program, all->inputs, all->description.input_count, all->outputs,
                                    all->description.output_count, message, sizeof message);
  if (code != 0) stop(code, message);
}

/* FOLDER/input_0, input_1, ... into FOLDER/output_0, ... */
static void play(const edge_program_options *options, const char *folder) {
  buffers all;
  size_t index;
  edge_program *program = open_or_stop(options);
  fill(&all, program, folder);
  print_tensors("input", all.description.inputs, all.description.input_count);
  print_tensors("output", all.description.outputs, all.description.output_count);
  printf("threads %d\n", all.description.threads);
  if (all.description.note != NULL) printf("note %s\n", all.description.note);
  run_or_stop(program, &all);
  for (index = 0; index < all.description.output_count; ++index) {
    move_file(folder, "output", index, "wb", all.outputs[index].data, all.outputs[index].bytes);
  }
  empty(&all);
  edge_program_free(program);
}

static void show(const char *what, int code, const char *message) { printf("%s: %d %s\n", what, code, message); }

/* Every call that makes no sense, one line each; then the program still runs. */
static void misuse(const edge_program_options *options, const char *folder) {
  char message[MOST_TEXT], small[8];
  buffers all;
  edge_program_options wrong = {0};
  edge_program *program = NULL, *other = NULL;
  size_t inputs, outputs;
  show("no options", edge_program_open(NULL, &other, message, sizeof message), message);
  show("no place", edge_program_open(options, NULL, message, sizeof message), message);
  show("no path", edge_program_open(&wrong, &other, message, sizeof message), message);
  show("small message", edge_program_open(&wrong, &other, small, sizeof small), small);
  show("no message", edge_program_open(&wrong, &other, NULL, 0), "");
  edge_program_free(NULL);
  program = open_or_stop(options);
  fill(&all, program, folder);
  inputs = all.description.input_count;
  outputs = all.description.output_count;
  show("describe nothing", edge_program_describe(NULL, &all.description, message, sizeof message), message);
  show("describe nowhere", edge_program_describe(program, NULL, message, sizeof message), message);
  show("run nothing", edge_program_run(NULL, all.inputs, inputs, all.outputs, outputs, message, sizeof message), message);
  show("no inputs", edge_program_run(program, NULL, inputs, all.outputs, outputs, message, sizeof message), message);
  show("no outputs", edge_program_run(program, all.inputs, inputs, NULL, outputs, message, sizeof message), message);
  show("one less", edge_program_run(program, all.inputs, inputs - 1, all.outputs, outputs, message, sizeof message), message);
  show("one more", edge_program_run(program, all.inputs, inputs, all.outputs, outputs + 1, message, sizeof message), message);
  all.inputs[0].bytes -= 1;
  show("input", edge_program_run(program, all.inputs, inputs, all.outputs, outputs, message, sizeof message), message);
  all.inputs[0].bytes += 1;
  all.outputs[0].bytes += 1;
  show("output", edge_program_run(program, all.inputs, inputs, all.outputs, outputs, message, sizeof message), message);
  all.outputs[0].bytes -= 1;
  wrong = *options;
  wrong.threads = options->threads + 1;
  show("threads", edge_program_open(&wrong, &other, message, sizeof message), message);
  show("nothing opened", other != NULL, "");
  run_or_stop(program, &all);
  empty(&all);
  edge_program_free(program);
  show("threads again", edge_program_open(&wrong, &other, message, sizeof message), message);
  edge_program_free(other);
}

typedef struct {
  const edge_program_options *options;
  const char *folder;
  edge_program *shared;
  buffers expected;
  const char *refusal;
  float scale;
  int wrong;
} worker;

/* The inputs of the folder, the first of them scaled, so that each thread has its own. */
static void fill_scaled(buffers *into, const worker *self) {
  size_t index;
  float *numbers;
  fill(into, self->shared, self->folder);
  numbers = (float *)into->inputs[0].data;
  for (index = 0; index < into->inputs[0].bytes / sizeof(float); ++index) numbers[index] *= self->scale;
}

static int run_and_compare(edge_program *program, const buffers *all, const buffers *expected) {
  int wrong = 0;
  size_t index;
  for (index = 0; index < all->description.output_count; ++index) memset(all->outputs[index].data, 0, all->outputs[index].bytes);
  run_or_stop(program, all);
  for (index = 0; index < all->description.output_count; ++index) {
    wrong += memcmp(all->outputs[index].data, expected->outputs[index].data, all->outputs[index].bytes) != 0;
  }
  return wrong;
}

/* Open FOLDER/noise, which is no program. */
static void open_noise(const char *folder, char *message, size_t bytes) {
  char path[4096];
  edge_program_options options = {0};
  edge_program *program = NULL;
  snprintf(path, sizeof path, "%s/noise", folder);
  options.path = path;
  if (edge_program_open(&options, &program, message, bytes) != 4 || program != NULL) stop(1, "noise was opened");
}

/* The shared program, some of its own and what is none, again and again, while other threads do the same. */
static void *work(void *argument) {
  worker *self = argument;
  int round, run;
  char message[MOST_TEXT];
  buffers all;
  fill_scaled(&all, self);
  for (round = 0; round < 4; ++round) {
    edge_program *own = open_or_stop(self->options);
    for (run = 0; run < 50; ++run) {
      self->wrong += run_and_compare(self->shared, &all, &self->expected);
      self->wrong += run_and_compare(own, &all, &self->expected);
    }
    edge_program_free(own);
  }
  for (run = 0; run < 2000; ++run) {
    open_noise(self->folder, message, sizeof message);
    self->wrong += strcmp(message, self->refusal) != 0;
  }
  empty(&all);
  return NULL;
}

static void share(const edge_program_options *options, const char *folder) {
  pthread_t threads[MOST_THREADS];
  worker workers[MOST_THREADS];
  char refusal[MOST_TEXT];
  int index, wrong = 0;
  edge_program *program = open_or_stop(options);
  open_noise(folder, refusal, sizeof refusal);
  for (index = 0; index < MOST_THREADS; ++index) {
    worker *one = &workers[index];
    one->options = options;
    one->folder = folder;
    one->shared = program;
    one->refusal = refusal;
    one->scale = 1 + (float)index / MOST_THREADS;
    one->wrong = 0;
    fill_scaled(&one->expected, one);
    run_or_stop(program, &one->expected);
    if (index > 0 && run_and_compare(program, &one->expected, &workers[index - 1].expected) == 0) stop(1, "all inputs are one");
  }
  for (index = 0; index < MOST_THREADS; ++index) {
    if (pthread_create(&threads[index], NULL, work, &workers[index]) != 0) stop(1, "no thread");
  }
  for (index = 0; index < MOST_THREADS; ++index) {
    pthread_join(threads[index], NULL);
    wrong += workers[index].wrong;
    empty(&workers[index].expected);
  }
  edge_program_free(program);
  printf("wrong %d\n", wrong);
}

static void print_version(void) {
  const edge_program_runtime *runtime = edge_program_version();
  printf("%s %s %s %s\n", runtime->name, runtime->version, runtime->engine, runtime->engine_version);
}

/* play|misuse|share FOLDER PATH SHA256 HASHED THREADS CACHE KEPT_BYTES [INPUT... : OUTPUT...], "-" for NULL; version */
int main(int count, char **words) {
  static tensor_list inputs, outputs;
  edge_program_options options = {0};
  tensor_list *side = &inputs;
  int index;
  if (count == 2 && strcmp(words[1], "version") == 0) return print_version(), 0;
  if (count < 9) stop(2, "see main");
  options.path = or_null(words[3]);
  options.sha256 = or_null(words[4]);
  options.hashed = atoi(words[5]);
  options.threads = atoi(words[6]);
  options.cache = or_null(words[7]);
  options.kept_bytes = atol(words[8]);
  for (index = 9; index < count; ++index) {
    if (strcmp(words[index], ":") == 0) side = &outputs;
    else add_tensor(side, words[index]);
  }
  if (count > 9) {
    options.inputs = inputs.tensors;
    options.input_count = inputs.count;
    options.outputs = outputs.tensors;
    options.output_count = outputs.count;
  }
  if (strcmp(words[1], "play") == 0) play(&options, words[2]);
  if (strcmp(words[1], "misuse") == 0) misuse(&options, words[2]);
  if (strcmp(words[1], "share") == 0) share(&options, words[2]);
  return 0;
}
