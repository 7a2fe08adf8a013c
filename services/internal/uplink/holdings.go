package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
)

// Bounds of holdings and repairs.
const (
	// MaxHoldings bounds holdings as they are sent and kept, in bytes.
	MaxHoldings = 12 << 10
	maxHours    = 31 * 24
	maxHeld     = 10_000
	// maxCounts bounds the counts of all devices, maxText their JSON in bytes.
	maxCounts = 250_000
	maxText   = 4 << 20
	// MaxPieces bounds a repair. What is missing beyond it is left to the next one.
	MaxPieces = 100
)

// Holdings is how many readings are held of those that an edge is to send, by device and
// hour of event time.
type Holdings struct {
	// From is the start of the first of the hours.
	From  time.Time `json:"from"`
	Hours int       `json:"hours"`
	// Through is a time before which the edge has sent what it had stored.
	Through time.Time `json:"through"`
	// Policy is what selected the readings.
	Policy Policy `json:"policy"`
	// Devices are those with readings, by site and name. Uncounted is how many there are if
	// they are too many for the bound.
	Devices   []Held `json:"devices"`
	Uncounted int    `json:"uncounted,omitempty"`
}

// Held is how many readings of a device are held, a number for each hour.
type Held struct {
	Site   string   `json:"site"`
	Device string   `json:"device"`
	Counts []uint64 `json:"counts"`
	// Least is how many of them the centre gets at least; nil if it gets all.
	Least []uint64 `json:"least,omitempty"`
}

func (h Held) key() telemetryv1.Key { return telemetryv1.Key{Site: h.Site, Device: h.Device} }

func compareHeld(a, b Held) int {
	if c := strings.Compare(a.Site, b.Site); c != 0 {
		return c
	}
	return strings.Compare(a.Device, b.Device)
}

// Tally counts the readings that a policy selects.
type Tally struct {
	from    time.Time
	hours   int
	policy  Policy
	devices map[telemetryv1.Key]*Held
}

// NewTally returns a tally of hours from the one on that from is in. The policy must be
// valid.
func NewTally(p Policy, from time.Time, hours int) *Tally {
	return &Tally{from.UTC().Truncate(time.Hour), hours, p, make(map[telemetryv1.Key]*Held)}
}

// Add adds n readings of a series in the hour of a time, and leaves out what is not
// selected or of another time.
func (t *Tally) Add(k telemetryv1.Key, at time.Time, n uint64) {
	hour := int(at.Sub(t.from) / time.Hour)
	if n == 0 || at.Before(t.from) || hour >= t.hours {
		return
	}
	s, selected := t.policy.find(k)
	if !selected || t.policy.isSummary(k) {
		return
	}
	of := telemetryv1.Key{Site: k.Site, Device: k.Device}
	h := t.devices[of]
	if h == nil {
		h = &Held{Site: k.Site, Device: k.Device, Counts: make([]uint64, t.hours), Least: make([]uint64, t.hours)}
		t.devices[of] = h
	}
	h.Counts[hour] += n
	h.Least[hour] += s.least(n)
}

// least is how many of n readings of a series go up at least. A deadband may leave out all.
func (s Selection) least(n uint64) uint64 {
	switch {
	case s.Deadband > 0:
		return 0
	case s.Every > 1:
		return n / uint64(s.Every)
	}
	return n
}

// Holdings returns what was counted.
func (t *Tally) Holdings() Holdings {
	out := Holdings{From: t.from, Hours: t.hours, Policy: t.policy, Devices: make([]Held, 0, len(t.devices))}
	for _, h := range t.devices {
		if slices.Equal(h.Least, h.Counts) {
			h.Least = nil
		}
		out.Devices = append(out.Devices, *h)
	}
	slices.SortFunc(out.Devices, compareHeld)
	return out
}

// Pack returns holdings as one compressed body of at most MaxHoldings bytes: those of the
// newest hours that fit, or without any device.
func (h Holdings) Pack() ([]byte, error) {
	for {
		text, err := json.Marshal(h)
		if err != nil {
			return nil, fmt.Errorf("encode holdings: %w", err)
		}
		e, err := encoder()
		if err != nil {
			return nil, fmt.Errorf("pack holdings: %w", err)
		}
		if len(h.Devices) <= maxHeld && len(h.Devices)*h.Hours <= maxCounts && len(text) <= maxText {
			if body := e.EncodeAll(text, nil); len(body) <= MaxHoldings {
				return body, nil
			}
		}
		if h.Hours > 1 && len(h.Devices) <= maxHeld {
			h = h.newest(h.Hours / 2)
			continue
		}
		h.Uncounted, h.Devices = len(h.Devices), nil
	}
}

// newest returns the holdings of the last hours alone.
func (h Holdings) newest(hours int) Holdings {
	skip := h.Hours - hours
	h.From, h.Hours = h.From.Add(time.Duration(skip)*time.Hour), hours
	devices := make([]Held, 0, len(h.Devices))
	for _, d := range h.Devices {
		d.Counts = d.Counts[skip:]
		if d.Least != nil {
			d.Least = d.Least[skip:]
		}
		devices = append(devices, d)
	}
	h.Devices = devices
	return h
}

// UnpackHoldings undoes Pack. It returns ErrUpload for a body that is damaged, beyond its
// bounds, or contradicts itself.
func UnpackHoldings(body []byte) (Holdings, error) {
	var h Holdings
	d, err := decoder()
	if err != nil {
		return h, fmt.Errorf("unpack holdings: %w", err)
	}
	if len(body) > MaxHoldings {
		return h, fmt.Errorf("%w: %w", ErrUpload, io.ErrShortBuffer)
	}
	text, err := d.DecodeAll(body, nil)
	if err == nil && len(text) > maxText {
		err = io.ErrShortBuffer
	}
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err == nil {
		err = h.validate()
	}
	if err != nil {
		return Holdings{}, fmt.Errorf("%w: %w", ErrUpload, err)
	}
	return h, nil
}

func (h Holdings) validate() error {
	if h.Hours < 1 || h.Hours > maxHours || len(h.Devices) > maxHeld || len(h.Devices)*h.Hours > maxCounts || !h.From.Equal(h.From.Truncate(time.Hour)) {
		return errors.New("holdings of other times or more devices than there may be")
	}
	for i, d := range h.Devices {
		if !streams.ValidToken(d.Site) || !streams.ValidToken(d.Device) || len(d.Counts) != h.Hours || d.Least != nil && len(d.Least) != h.Hours {
			return errors.New("holdings of a device that cannot be")
		}
		if i > 0 && compareHeld(h.Devices[i-1], d) >= 0 {
			return errors.New("holdings that are not in order")
		}
	}
	return h.Policy.Validate()
}

// Hour is what both sides hold of one hour.
type Hour struct {
	Start time.Time
	// Edge is how many readings the edge holds, Centre how many the centre does.
	Edge, Centre uint64
	// Coming is how many the edge has still to send, Missing how many the centre should have
	// and has not.
	Coming, Missing uint64
}

// Piece is a part of the readings of a device, which is missing at the centre. Times are
// seconds since the Unix epoch.
type Piece struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	From   int64  `json:"from"`
	Until  int64  `json:"until"`
}

// Compare compares what an edge holds with what the centre holds of the same hours, and
// returns each hour and the pieces that are missing, of which those that follow one another
// are one. What the edge had not sent when it counted is coming, not missing.
func Compare(edge, centre Holdings) (hours []Hour, missing []Piece) {
	hours = make([]Hour, edge.Hours)
	for i := range hours {
		hours[i].Start = edge.From.Add(time.Duration(i) * time.Hour)
	}
	here := make(map[telemetryv1.Key]Held, len(centre.Devices))
	for _, h := range centre.Devices {
		here[h.key()] = h
	}
	for _, d := range edge.Devices {
		least := d.Counts
		if d.Least != nil {
			least = d.Least
		}
		has := here[d.key()].Counts
		for i := range hours {
			h := &hours[i]
			n := uint64(0)
			if i < len(has) {
				n = has[i]
			}
			h.Edge += d.Counts[i]
			h.Centre += n
			absent := least[i] - min(least[i], n)
			if end := h.Start.Add(time.Hour); end.After(edge.Through) {
				h.Coming += absent
				continue
			} else if absent > 0 {
				h.Missing += absent
				missing = addPiece(missing, Piece{d.Site, d.Device, h.Start.Unix(), end.Unix()})
			}
		}
	}
	return hours, missing
}

func addPiece(to []Piece, p Piece) []Piece {
	if n := len(to); n > 0 && to[n-1].Site == p.Site && to[n-1].Device == p.Device && to[n-1].Until == p.From {
		to[n-1].Until = p.Until
		return to
	}
	return append(to, p)
}

// Repair is what an edge is to send once more.
type Repair struct {
	// ID tells one repair from another.
	ID     string  `json:"id"`
	Pieces []Piece `json:"pieces"`
}

// Validate returns what is wrong with the repair, or nil.
func (r Repair) Validate() error {
	if r.ID == "" || len(r.ID) > 64 || len(r.Pieces) > MaxPieces {
		return fmt.Errorf("a repair of %d pieces, at most %d", len(r.Pieces), MaxPieces)
	}
	for _, p := range r.Pieces {
		if !streams.ValidToken(p.Site) || !streams.ValidToken(p.Device) || p.Until <= p.From || p.Until-p.From > int64(maxHours*time.Hour/time.Second) {
			return errors.New("a repair of a piece that cannot be")
		}
	}
	return nil
}

// Repaired is how far an edge has come with a repair: Done of its pieces were sent.
type Repaired struct {
	ID       string `json:"id"`
	Done     int    `json:"done"`
	Pieces   int    `json:"pieces"`
	Readings uint64 `json:"readings"`
}

// Over reports whether all pieces were sent.
func (r Repaired) Over() bool { return r.Done >= r.Pieces }
