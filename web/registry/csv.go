package registry

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/web/app"
	"headwater/web/view"
)

// The columns of the CSV. A row without a metric is about the device, one with a metric about
// that.
const (
	colSite     = "site"
	colDevice   = "device"
	colName     = "name"
	colRoom     = "room"
	colLocation = "location"
	colNotes    = "notes"
	colTags     = "tags"
	colInterval = "interval"
	colMetric   = "metric"
	colUnit     = "unit"
	colDecimals = "precision"
	colLow      = "low"
	colHigh     = "high"
	// These are what devices tell, and not read.
	colFirmware = "firmware"
	colBattery  = "battery"
	colFirst    = "first_seen"
	colLast     = "last_seen"
)

var columns = []string{
	colSite, colDevice, colMetric, colName, colRoom, colLocation, colNotes, colTags, colInterval,
	colUnit, colDecimals, colLow, colHigh, colFirmware, colBattery, colFirst, colLast,
}

// Bounds of an import.
const (
	// MaxCSV is the greatest size of the text in bytes.
	MaxCSV = 8 << 20
	// maxRows is the greatest number of rows, and maxRowProblems how many problems one answer has.
	maxRows        = 50_000
	maxRowProblems = 20
)

// writeHeader writes the names of the columns.
func writeHeader(w *csv.Writer) error { return w.Write(columns) }

// writeDevice writes the rows of a device.
func writeDevice(w *csv.Writer, d view.Device) error {
	a := d.About
	row := map[string]string{
		colSite: d.Site, colDevice: d.Device, colName: app.Cell(a.Name), colRoom: app.Cell(a.Room), colLocation: app.Cell(a.Location),
		colNotes: app.Cell(a.Notes), colTags: app.Cell(joinTags(a.Tags)), colInterval: a.Interval.String(),
		colFirmware: app.Cell(view.Plain(d.Firmware())), colFirst: moment(d.FirstSeen), colLast: moment(d.LastSeen),
	}
	if m, ok := d.Battery(); ok {
		row[colBattery] = m.Value.String() + m.ShownUnit()
	}
	if err := w.Write(inOrder(row)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Metrics)) {
		m := a.Metrics[name]
		row := map[string]string{
			colSite: d.Site, colDevice: d.Device, colMetric: name, colName: app.Cell(m.Name), colUnit: app.Cell(m.Unit), colInterval: m.Interval.String(),
			colLow: number(m.Low), colHigh: number(m.High),
		}
		if m.Precision != nil {
			row[colDecimals] = strconv.Itoa(*m.Precision)
		}
		if err := w.Write(inOrder(row)); err != nil {
			return err
		}
	}
	return nil
}

func inOrder(row map[string]string) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = row[c]
	}
	return out
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func number(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

// joinTags writes tags as a=b; c=d.
func joinTags(tags map[string]string) string {
	return strings.Join(view.DeviceAbout{Tags: tags}.TagList(), "; ")
}

// parseTags reads tags as a=b, separated by semicolons or lines.
func parseTags(text string) (map[string]string, error) {
	var tags map[string]string
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' || r == '\r' }) {
		name, value, found := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case strings.TrimSpace(part) == "":
			continue
		case !found || name == "" || value == "":
			return nil, fmt.Errorf("tags: %q is not like kind=door", app.Clip(strings.TrimSpace(part)))
		}
		if tags == nil {
			tags = make(map[string]string)
		}
		tags[name] = value
	}
	return tags, nil
}

func parseSpan(text string) (s view.Span, err error) {
	if err := s.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return 0, fmt.Errorf("interval: %q is not a time like 30s, 5m or 2d", app.Clip(text))
	}
	return s, nil
}

func parseNumber(field, text string) (*float64, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: %q is not a number", field, app.Clip(text))
	}
	return &v, nil
}

func parsePrecision(text string) (*int, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("precision: %q is not a whole number", app.Clip(text))
	}
	return &v, nil
}

// readCSV reads what a table says about devices: their changes, in the order in which the
// table first names them. A column that is missing leaves what is said, an empty cell removes
// it. The error joins the problems, at most maxRowProblems of them; then nothing is to be
// changed.
func readCSV(in io.Reader) ([]Change, error) {
	text := bufio.NewReader(in)
	r := csv.NewReader(text)
	r.ReuseRecord = true
	// Some spreadsheets write semicolons.
	if start, _ := text.Peek(len(colDevice) + len(colSite) + 4); bytes.ContainsRune(start, ';') {
		r.Comma = ';'
	}
	at, err := header(r)
	if err != nil {
		return nil, err
	}
	type key struct{ site, device string }
	var order []key
	edits := make(map[key][]func(*view.DeviceAbout))
	var problems []error
	for rows := 0; ; rows++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // nothing after it can be read
			return nil, errors.Join(append(problems, fmt.Errorf("the table cannot be read: %w", err))...)
		}
		if rows == maxRows {
			return nil, fmt.Errorf("%w: it has more than %d rows", ErrDraft, maxRows)
		}
		line, _ := r.FieldPos(0)
		row := row{at: at, record: record}
		k := key{strings.Clone(strings.TrimSpace(row.get(colSite))), strings.Clone(strings.TrimSpace(row.get(colDevice)))}
		var edit func(*view.DeviceAbout)
		switch {
		case !app.ValidToken(k.site) || !app.ValidToken(k.device):
			err = errors.New("site and device must be 1 to 64 letters, digits, hyphens or underscores")
		case strings.TrimSpace(row.get(colMetric)) == "":
			edit, err = row.device()
		default:
			edit, err = row.metric()
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", line, err))
			if len(problems) == maxRowProblems {
				break
			}
			continue
		}
		if _, known := edits[k]; !known {
			if len(order) == MaxChanges {
				return nil, fmt.Errorf("%w: it names more than %d devices; import it in parts", ErrDraft, MaxChanges)
			}
			order = append(order, k)
		}
		edits[k] = append(edits[k], edit)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	changes := make([]Change, len(order))
	for i, k := range order {
		all := edits[k]
		changes[i] = Change{Site: k.site, Device: k.device, Apply: func(a view.DeviceAbout) view.DeviceAbout {
			a.Metrics = maps.Clone(a.Metrics)
			for _, edit := range all {
				edit(&a)
			}
			return a
		}}
	}
	return changes, nil
}

// header reads the names of the columns and returns where they are.
func header(r *csv.Reader) (map[string]int, error) {
	names, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("the table cannot be read: %w", err)
	}
	at := make(map[string]int)
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		switch _, twice := at[name]; {
		case !slices.Contains(columns, name):
			return nil, fmt.Errorf("%w: %q is no column; known are %s", ErrDraft, app.Clip(name), strings.Join(columns, ", "))
		case twice:
			return nil, fmt.Errorf("%w: the column %s is there twice", ErrDraft, name)
		}
		at[strings.Clone(name)] = i
	}
	for _, name := range []string{colSite, colDevice} {
		if _, there := at[name]; !there {
			return nil, fmt.Errorf("%w: the column %s is missing in the first row", ErrDraft, name)
		}
	}
	return at, nil
}

// row is one row of a table.
type row struct {
	at     map[string]int
	record []string
}

func (r row) get(column string) string {
	if i, there := r.at[column]; there {
		return app.OfCell(r.record[i])
	}
	return ""
}

// texts returns the edits of the columns that are there and hold text.
func (r row) texts(columns ...string) map[string]string {
	out := make(map[string]string)
	for _, c := range columns {
		if _, there := r.at[c]; there {
			out[c] = strings.Clone(strings.TrimSpace(r.get(c)))
		}
	}
	return out
}

func (r row) device() (func(*view.DeviceAbout), error) {
	said := r.texts(colName, colRoom, colLocation, colNotes, colTags, colInterval)
	tags, err := parseTags(said[colTags])
	span, err2 := parseSpan(said[colInterval])
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return func(a *view.DeviceAbout) {
		for c, into := range map[string]*string{colName: &a.Name, colRoom: &a.Room, colLocation: &a.Location, colNotes: &a.Notes} {
			if text, there := said[c]; there {
				*into = text
			}
		}
		if _, there := said[colTags]; there {
			a.Tags = tags
		}
		if _, there := said[colInterval]; there {
			a.Interval = span
		}
	}, nil
}

func (r row) metric() (func(*view.DeviceAbout), error) {
	name := strings.Clone(strings.TrimSpace(r.get(colMetric)))
	if !app.ValidToken(name) {
		return nil, app.TokenError(colMetric)
	}
	said := r.texts(colName, colUnit, colDecimals, colLow, colHigh, colInterval)
	span, err := parseSpan(said[colInterval])
	decimals, err2 := parsePrecision(said[colDecimals])
	low, err3 := parseNumber(colLow, said[colLow])
	high, err4 := parseNumber(colHigh, said[colHigh])
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return nil, err
	}
	return func(a *view.DeviceAbout) {
		m := a.Metrics[name]
		for c, set := range map[string]func(){
			colName: func() { m.Name = said[colName] }, colUnit: func() { m.Unit = said[colUnit] }, colDecimals: func() { m.Precision = decimals },
			colLow: func() { m.Low = low }, colHigh: func() { m.High = high }, colInterval: func() { m.Interval = span },
		} {
			if _, there := said[c]; there {
				set()
			}
		}
		setMetric(a, name, m)
	}, nil
}

// setMetric says something about a metric, or removes it if nothing is said.
func setMetric(a *view.DeviceAbout, name string, m view.MetricAbout) {
	if m == (view.MetricAbout{}) {
		delete(a.Metrics, name)
		return
	}
	if a.Metrics == nil {
		a.Metrics = make(map[string]view.MetricAbout)
	}
	a.Metrics[name] = m
}
