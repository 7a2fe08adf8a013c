package influxd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/influxdata/influxdb/tsdb/index/tsi1"
)

// fieldsFile holds the types of a shard's fields. While it is there, InfluxDB
// takes the index for whole and does not look at the points.
const fieldsFile = "fields.idx"

// repair removes the index of every shard whose list of index files is damaged.
// InfluxDB 1.8 writes that list in place, so a process that is killed, or a
// machine that loses power, can leave it empty; the shard then refuses every
// write and every query. With its index and its fields gone, InfluxDB makes them
// anew from the points themselves, of which none is touched.
func repair(dir string, log *slog.Logger) error {
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
