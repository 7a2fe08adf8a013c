package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
)

// columns names the columns of a CSV file to read.
type columns struct {
	TimeColumn  string `help:"Column with the times (${default})." default:"timestamp" placeholder:"NAME"`
	ValueColumn string `help:"Column with the values (${default})." default:"value" placeholder:"NAME"`
}

// timeHelp says which times are read.
const timeHelp = "Times are written as 2026-01-31 14:00:00 or in another usual way, or as a number of seconds, milli-, micro- or nanoseconds since 1970."

// row is a line of a CSV file. Value is NaN if the line has no number.
type row struct {
	text, number string
	at           int64
	value        float64
}

// readRows calls each with the rows of a CSV file in their order. Times without a zone
// are in the given one. Errors name file and line.
func readRows(path string, c columns, zone *time.Location, each func(row) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the series: %w", err)
	}
	defer f.Close()
	return c.read(path, f, zone, each)
}

// read reads the rows. Errors call the source path.
func (c columns) read(path string, from io.Reader, zone *time.Location, each func(row) error) error {
	r := csv.NewReader(from)
	r.ReuseRecord, r.TrimLeadingSpace = true, true
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s:1: the file is empty: it needs a line with the names of the columns", path)
	}
	if err != nil {
		return at(path, err)
	}
	head = slices.Clone(head)
	if len(head) > 0 {
		head[0] = strings.TrimPrefix(head[0], "\ufeff")
	}
	when, what := slices.Index(head, c.TimeColumn), slices.Index(head, c.ValueColumn)
	for column, i := range map[string]int{c.TimeColumn: when, c.ValueColumn: what} {
		if i < 0 {
			return fmt.Errorf("%s:1: no column %q; there are %s (--time-column and --value-column name others)",
				path, column, figure.Clip(safe(strings.Join(head, ", ")), 200))
		}
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return at(path, err)
		}
		line, _ := r.FieldPos(when)
		t, err := parseTime(record[when], zone)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, line, err)
		}
		// A copy, because the next record reuses the memory of this one.
		out := row{text: strings.Clone(record[when]), number: strings.Clone(record[what]), at: t}
		out.value, err = strconv.ParseFloat(strings.TrimSpace(out.number), 64)
		if err != nil {
			out.value = math.NaN()
		}
		if err := each(out); err != nil {
			return err
		}
	}
}

// at puts file and line in front of an error of the CSV reader.
func at(path string, err error) error {
	if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("%s:%d: %w", path, wrong.Line, wrong.Err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// layouts are the accepted ways to write a time. Fractions may follow the seconds. Names
// of zones other than UTC are not accepted, because they are not unique.
var layouts = []string{
	time.DateTime, time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly,
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05 -0700 MST",
	"2006-01-02T15:04Z07:00", "2006/01/02 15:04:05", "2006/01/02 15:04", "20060102T150405Z0700", "20060102T150405",
	time.RFC1123Z, "Mon, 02 Jan 2006 15:04:05 GMT", time.ANSIC,
}

// parseTime reads a date and time, in the given zone if it names none, or a number of
// seconds, milliseconds, microseconds or nanoseconds since 1970, distinguished by
// magnitude. It returns nanoseconds.
func parseTime(s string, zone *time.Location) (int64, error) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > 8 {
		unit := int64(time.Second)
		for _, smaller := range []int64{1e11, 1e14, 1e17} {
			if n >= smaller || n <= -smaller {
				unit /= 1000
			}
		}
		if n > math.MaxInt64/unit || n < math.MinInt64/unit {
			return 0, fmt.Errorf("the time %q is not from 1700 to 2250", figure.Clip(safe(s), 40))
		}
		return n * unit, nil
	}
	if utc, named := strings.CutSuffix(s, " UTC"); named && !strings.Contains(utc, "+") {
		s, zone = utc, time.UTC
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			if t.Year() < 1700 || t.Year() > 2250 {
				return 0, fmt.Errorf("the time %q is not from 1700 to 2250", figure.Clip(safe(s), 40))
			}
			return t.UnixNano(), nil
		}
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 9e9 {
		return int64(math.Round(f * 1e9)), nil
	}
	return 0, fmt.Errorf("%q is not a time such as 2026-01-31 14:00:00, 2026-01-31T14:00:00+01:00 or 1769868000", figure.Clip(safe(s), 40))
}
