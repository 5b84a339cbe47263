/*
 * The floor of a batch run: the same DuckDB, linked the same way, reads a table and writes columns with constants in
 * place of answers. Usage: floor INPUT OUTPUT_DIR COLUMNS PARTITION_COLUMN FORMAT; a partition column of "" is none.
 * Prints the seconds of its query alone. run.py times it.
 */
#include <duckdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void run(duckdb_connection connection, const char *sql)
{
    duckdb_result result;
    if (duckdb_query(connection, sql, &result) != DuckDBSuccess) {
        fprintf(stderr, "floor: %s\n", duckdb_result_error(&result));
        exit(1);
    }
    duckdb_destroy_result(&result);
}

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: floor INPUT OUTPUT_DIR COLUMNS PARTITION_COLUMN FORMAT\n");
        return 64;
    }
    duckdb_database database;
    duckdb_connection connection;
    if (duckdb_open(NULL, &database) != DuckDBSuccess || duckdb_connect(database, &connection) != DuckDBSuccess)
        return 1;
    run(connection, "SET autoinstall_known_extensions = false; SET autoload_known_extensions = false");
    char sql[4096], options[256] = "PER_THREAD_OUTPUT true";
    if (argv[4][0] != '\0') (void)snprintf(options, sizeof options, "PARTITION_BY (\"%s\")", argv[4]);
    (void)snprintf(sql, sizeof sql, "COPY (SELECT %s FROM '%s') TO '%s' (FORMAT %s, %s)", argv[3], argv[1], argv[2],
                   argv[5], options);
    double began = now();
    run(connection, sql);
    printf("%.4f\n", now() - began);
    duckdb_disconnect(&connection);
    duckdb_close(&database);
    return 0;
}
