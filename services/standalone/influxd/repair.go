package influxd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/influxdata/influxdb/tsdb/engine/tsm1"
	"github.com/influxdata/influxdb/tsdb/index/tsi1"
)

// fieldsFile holds the types of a shard's fields. While it is there, InfluxDB
// takes the index for whole and does not look at the points.
const fieldsFile = "fields.idx"

// repair mends what a hard stop, a power cut or a full disk can leave behind.
// InfluxDB must not be running.
func repair(dir string, log *slog.Logger) error {
	if err := repairLogs(dir, log); err != nil {
		return fmt.Errorf("mend the write-ahead log of InfluxDB: %w", err)
	}
	return repairIndexes(dir, log)
}

// repairLogs cuts off what is not whole at the end of the write-ahead log of
// each shard, which no client was told is stored. InfluxDB 1.8 cuts it off too,
// but by then (Engine.Open) it has opened the file for writing at its old end:
// the next entry leaves a hole, and at the start after that everything behind
// the hole is cut off, although it was acknowledged.
func repairLogs(dir string, log *slog.Logger) error {
	shards, err := filepath.Glob(filepath.Join(dir, "wal", "*", "*", "*"))
	if err != nil {
		return err
	}
	for _, shard := range shards {
		segments, err := filepath.Glob(filepath.Join(shard, tsm1.WALFilePrefix+"*."+tsm1.WALFileExtension))
		if err != nil {
			return err
		}
		if len(segments) == 0 {
			continue
		}
		// InfluxDB goes on writing in the last one alone.
		last := slices.Max(segments)
		cut, err := repairLog(last)
		if err != nil {
			return err
		}
		if cut > 0 {
			log.Warn("the end of a write-ahead log of InfluxDB is not whole, as a hard stop or a full disk can leave it; it is cut off", "log", last, "bytes", cut)
		}
	}
	return nil
}

// repairLog returns how many bytes it cut off.
func repairLog(path string) (cut int64, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	entries := tsm1.NewWALSegmentReader(io.NopCloser(file))
	for entries.Next() {
		if _, err := entries.Read(); err == nil {
			continue
		}
		info, err := file.Stat()
		if err != nil {
			return 0, err
		}
		if err := file.Truncate(entries.Count()); err != nil {
			return 0, err
		}
		return info.Size() - entries.Count(), file.Sync()
	}
	return 0, nil
}

// repairIndexes removes the index of every shard whose list of index files is damaged.
// InfluxDB 1.8 writes that list in place, so a process that is killed, or a
// machine that loses power, can leave it empty; the shard then refuses every
// write and every query. With its index and its fields gone, InfluxDB makes them
// anew from the points themselves, of which none is touched.
func repairIndexes(dir string, log *slog.Logger) error {
	lists, err := filepath.Glob(filepath.Join(dir, "data", "*", "*", "*", "index", "*", tsi1.ManifestFileName))
	if err != nil {
		return err
	}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its index is gone already
		}
		if err != nil {
			return fmt.Errorf("check the index of InfluxDB: %w", err)
		}
		if json.Valid(content) {
			continue
		}
		index := filepath.Dir(filepath.Dir(list))
		shard := filepath.Dir(index)
		log.Warn("the index of a part of the history is damaged, as a hard stop can leave it; it is made anew", "shard", shard)
		// The fields first: if this is cut short, the list is still damaged and
		// found again.
		if err := os.Remove(filepath.Join(shard, fieldsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mend the index of InfluxDB: %w", err)
		}
		if err := os.RemoveAll(index); err != nil {
			return fmt.Errorf("mend the index of InfluxDB: %w", err)
		}
	}
	return nil
}
