// Package watch decides when Headwater raises an alert about itself: readings that wait,
// streams or a disk that fill up, dead letters that become many, an InfluxDB that is away. It is pure.
package watch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"headwater/proto/figure"
)

const (
	// Hold is how long something must be wrong, or right again, before that counts.
	Hold = 2 * time.Minute
	// standstill is how old the newest message of a stream may be: the bridge writes a clock
	// into every lane about once a second, and the processor commits at least every 15 s.
	standstill = time.Minute
	// backlog is how many messages may wait for the writer.
	backlog = 20_000
	// full is how full a stream may be. The janitor cleans up above 80 %, beyond 100 %
	// nothing more is acknowledged.
	full = 0.9
	// buriedWithin is the time over which dead letters are counted, and mostBuried how many
	// there may be.
	buriedWithin = 10 * time.Minute
	mostBuried   = 100
)

// Facts are what is seen at one moment. What is not known is zero or absent.
type Facts struct {
	// Telemetry and Derived are when the newest message of the stream was stored.
	Telemetry, Derived time.Time
	// Waiting is how many messages wait for the writer.
	Waiting uint64
	// Full is how full each stream is; 1 is full.
	Full map[string]float64
	// Buried is the sequence of the newest dead letter. It may fall when the stream is
	// recreated.
	Buried uint64
	// Influx is what InfluxDB answers; empty if all is well or it is not asked.
	Influx string
	// Disk is that of the data folder.
	Disk Disk
}

// Disk is how much of a disk is free, in bytes. While less than Reserve is, no reading is
// acknowledged. Total is 0 if nothing is known.
type Disk struct{ Free, Reserve, Total uint64 }

// short reports whether a disk is nearly full.
func (d Disk) short() bool { return d.Total > 0 && d.Free < 2*d.Reserve }

// percent says how much of the disk so many bytes are.
func (d Disk) percent(bytes uint64) string {
	return fmt.Sprintf("%.1f %%", float64(bytes)/float64(d.Total)*100)
}

// Problem is what is wrong.
type Problem struct {
	// Part names what has the problem: a token.
	Part string `json:"part"`
	// Critical reports whether readings may be lost, or nobody is notified, if nobody acts.
	Critical bool `json:"critical,omitempty"`
	// Text says what is wrong and what to do.
	Text string `json:"text"`
	// Since is when it began.
	Since time.Time `json:"since"`
}

// State is what is wrong at a moment, as it is stored.
type State struct {
	At       time.Time `json:"at"`
	Problems []Problem `json:"problems"`
}

// maxProblems bounds the problems of a State.
const maxProblems = 20

// Encode returns the state as it is stored.
func (s State) Encode() ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the state of the pipeline: %w", err)
	}
	return body, nil
}

// Decode undoes Encode.
func Decode(body []byte) (State, error) {
	var s State
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("decode the state of the pipeline: %w", err)
	}
	if len(s.Problems) > maxProblems {
		return s, fmt.Errorf("decode the state of the pipeline: %d problems, at most %d", len(s.Problems), maxProblems)
	}
	return s, nil
}

// Watch remembers what was seen. The zero Watch has seen nothing. One goroutine only.
type Watch struct {
	// raised are the problems that count, by part.
	raised map[string]Problem
	// wrong and right are since when a part has been wrong or right.
	wrong, right map[string]time.Time
	buried       []buried
	// answered is set once InfluxDB has answered: where it is not set up, it is not away.
	answered bool
}

type buried struct {
	at       time.Time
	sequence uint64
}

// From returns a Watch that continues from what was stored.
func From(s State) *Watch {
	w := &Watch{raised: map[string]Problem{}, wrong: map[string]time.Time{}, right: map[string]time.Time{}}
	for _, p := range s.Problems {
		w.raised[p.Part] = p
		w.wrong[p.Part] = p.Since
		w.answered = w.answered || p.Part == partInflux
	}
	return w
}

// Parts that may have a problem.
const (
	partBridge    = "bridge"
	partProcessor = "processor"
	partWriter    = "writer"
	partStreams   = "streams"
	partBuried    = "dead-letters"
	partInflux    = "influxdb"
	partDisk      = "disk"
)

// See takes in what is seen at a time. It returns what is wrong then, and whether that is
// other than before.
func (w *Watch) See(now time.Time, f Facts) (s State, changed bool) {
	now = now.UTC()
	seen := w.judge(now, f)
	for part, p := range seen {
		delete(w.right, part)
		if w.wrong[part].IsZero() {
			w.wrong[part] = now
		}
		_, raised := w.raised[part]
		if !raised && (now.Sub(w.wrong[part]) >= Hold || part == partBuried) {
			p.Since = w.wrong[part]
			w.raised[part], changed = p, true
		}
	}
	for part := range w.wrong {
		if _, still := seen[part]; still {
			continue
		}
		if w.right[part].IsZero() {
			w.right[part] = now
		}
		if _, raised := w.raised[part]; !raised || now.Sub(w.right[part]) >= Hold {
			changed = changed || raised
			delete(w.raised, part)
			delete(w.wrong, part)
			delete(w.right, part)
		}
	}
	s = State{At: now, Problems: slices.SortedFunc(maps.Values(w.raised), func(a, b Problem) int { return cmp.Compare(a.Part, b.Part) })}
	return s, changed
}

// judge returns what is wrong at this moment, by part.
func (w *Watch) judge(now time.Time, f Facts) map[string]Problem {
	out := map[string]Problem{}
	add := func(part string, critical bool, text string) {
		out[part] = Problem{Part: part, Critical: critical, Text: text}
	}
	still := func(at time.Time) bool { return !at.IsZero() && now.Sub(at) > standstill }
	switch {
	case still(f.Telemetry):
		add(partBridge, true, "No bridge has written into the lanes for "+figure.Duration(now.Sub(f.Telemetry).Truncate(time.Second))+
			". Devices are not read and no alert is raised. See whether a bridge runs and reaches NATS.")
	case still(f.Derived):
		add(partProcessor, true, "The processor has committed nothing for "+figure.Duration(now.Sub(f.Derived).Truncate(time.Second))+
			". Windows do not close and no alert is raised. See whether a processor runs.")
	}
	if f.Waiting > backlog {
		add(partWriter, false, figure.Count(f.Waiting)+" messages wait to be written to InfluxDB. Charts are behind. See whether the writer runs and InfluxDB answers.")
	}
	var fullest string
	for _, name := range slices.Sorted(maps.Keys(f.Full)) {
		if f.Full[name] >= full && (fullest == "" || f.Full[name] > f.Full[fullest]) {
			fullest = name
		}
	}
	if fullest != "" {
		add(partStreams, true, fmt.Sprintf("The stream %s is %.0f %% full. When it is full, nothing more is acknowledged. See what waits to be processed, or give it more of the disk.", fullest, f.Full[fullest]*100))
	}
	if n := w.bury(now, f.Buried); n > mostBuried {
		add(partBuried, false, figure.Count(n)+" messages could not be processed in the last "+figure.Duration(buriedWithin)+". The page Dead letters shows them and why.")
	}
	if d := f.Disk; d.short() {
		add(partDisk, true, d.percent(d.Free)+" of the disk of the data folder is free. Below "+d.percent(d.Reserve)+
			" no reading is acknowledged. Delete other files there or move the data to a larger disk.")
	}
	w.answered = w.answered || f.Influx == ""
	if f.Influx != "" && w.answered {
		add(partInflux, false, "InfluxDB does not answer ("+f.Influx+"). Readings wait and are written when it is back.")
	}
	return out
}

// bury returns how many dead letters came within the time over which they are counted.
func (w *Watch) bury(now time.Time, sequence uint64) uint64 {
	if n := len(w.buried); n > 0 && sequence < w.buried[n-1].sequence {
		w.buried = nil // the stream was recreated
	}
	w.buried = append(w.buried, buried{now, sequence})
	first := slices.IndexFunc(w.buried, func(b buried) bool { return now.Sub(b.at) <= buriedWithin })
	w.buried = w.buried[first:]
	return sequence - w.buried[0].sequence
}
