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

// fieldsFile holds the types of a shard's fields. While it exists, InfluxDB takes the
// index as complete and does not read the points.
const fieldsFile = "fields.idx"

// repair repairs the damage that a hard stop, a power cut or a full disk can leave
// behind. InfluxDB must not be running.
func repair(dir string, log *slog.Logger) error {
	if err := repairLogs(dir, log); err != nil {
		return fmt.Errorf("repair the write-ahead log of InfluxDB: %w", err)
	}
	return repairIndexes(dir, log)
}

// repairLogs cuts off an incomplete entry at the end of the write-ahead log of each
// shard. No client got an acknowledgement for it. Left to InfluxDB 1.8, it would lose
// acknowledged points:
//
//  1. InfluxDB opens the log for writing, at its old end (Engine.Open).
//  2. It reads the log and cuts off the incomplete entry.
//  3. The next entry is written at the old end, behind a hole.
//  4. At the next start, everything behind the hole is cut off.
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
		// InfluxDB continues to write only the last one.
		last := slices.Max(segments)
		cut, err := repairLog(last)
		if err != nil {
			return err
		}
		if cut > 0 {
			log.Warn("cut off an incomplete entry of InfluxDB's write-ahead log, as a hard stop or a full disk can leave behind", "log", last, "bytes", cut)
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
// InfluxDB 1.8 writes that list in place, so a killed process or a power cut can leave
// it empty; the shard then refuses every write and every query. When the index and the
// fields are gone, InfluxDB rebuilds them from the points, which stay untouched.
func repairIndexes(dir string, log *slog.Logger) error {
	lists, err := filepath.Glob(filepath.Join(dir, "data", "*", "*", "*", "index", "*", tsi1.ManifestFileName))
	if err != nil {
		return err
	}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the index has been removed already
		}
		if err != nil {
			return fmt.Errorf("check the index of InfluxDB: %w", err)
		}
		if json.Valid(content) {
			continue
		}
		index := filepath.Dir(filepath.Dir(list))
		shard := filepath.Dir(index)
		log.Warn("rebuilding the index of a part of the history, which a hard stop can damage", "shard", shard)
		// The fields first: if this is interrupted, the list is still damaged, and the next
		// start finds it.
		if err := os.Remove(filepath.Join(shard, fieldsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("repair the index of InfluxDB: %w", err)
		}
		if err := os.RemoveAll(index); err != nil {
			return fmt.Errorf("repair the index of InfluxDB: %w", err)
		}
	}
	return nil
}
