package replay

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"headwater/streams"
	"headwater/web/view"
)

// Source replays rules over stored readings. An error that wraps
// view.ErrUnavailable means that no service runs that could do it;
// view.ErrNotFound that the replay is not known, or no longer.
type Source interface {
	// Begin begins a replay and returns its state: it may have failed already, or be
	// refused for now, as the status says.
	Begin(ctx context.Context, q Query) (Replay, error)
	// Replay returns the state of a replay. A replay that is not asked for within
	// streams.ReplayPatience is ended.
	Replay(ctx context.Context, id string) (Replay, error)
	// Cancel ends a replay.
	Cancel(ctx context.Context, id string) error
}

// Query asks what alerts a rule would have raised in [From, To), event
// time, its detectors having learned for Warm before.
type Query struct {
	// Rule is the rule in YAML.
	Rule     string
	From, To time.Time
	Warm     time.Duration
}

// Replay is the state of a replay and, once it is done, the alerts that the rule
// would have raised beside the real ones.
type Replay struct {
	streams.ReplayStatus
	// Real are the alerts that were really raised in the period on series which the
	// rule matches, by whatever rule, by their start; MoreReal says that there were
	// more than a dashboard remembers.
	Real     []Real `json:"real,omitempty"`
	MoreReal bool   `json:"more_real,omitempty"`
}

// Real is an alert that was really raised.
type Real struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	view.Episode
}

// Row compares what a rule would have raised on a device with what was
// really raised.
type Row struct {
	Site, Device string
	// Would counts the alerts that the rule would have raised, PerWeek those that
	// would have begun for each week.
	Would   int
	PerWeek float64
	// Same counts the real alerts of the rule of the same name, Others the real
	// alerts of other rules.
	Same, Others int
}

// Rows compares device by device, those with most alerts of the rule first.
func (r Replay) Rows() []Row {
	if r.Result == nil {
		return nil
	}
	rows := make(map[[2]string]*Row)
	row := func(site, device string) *Row {
		key := [2]string{site, device}
		if rows[key] == nil {
			rows[key] = &Row{Site: site, Device: device}
		}
		return rows[key]
	}
	for _, d := range r.Result.Devices {
		of := row(d.Site, d.Device)
		of.Would, of.PerWeek = d.Alerts, d.PerWeek
	}
	for _, a := range r.Real {
		if a.Rule == r.Result.Rule {
			row(a.Site, a.Device).Same++
		} else {
			row(a.Site, a.Device).Others++
		}
	}
	out := make([]Row, 0, len(rows))
	for _, of := range rows {
		out = append(out, *of)
	}
	slices.SortFunc(out, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Would, a.Would), cmp.Compare(b.Same, a.Same), cmp.Compare(b.Others, a.Others),
			strings.Compare(a.Site, b.Site), strings.Compare(a.Device, b.Device))
	})
	return out
}

// Reals counts the real alerts of the rule of the same name, and of other rules.
func (r Replay) Reals() (same, others int) {
	for _, a := range r.Real {
		if r.Result != nil && a.Rule == r.Result.Rule {
			same++
		} else {
			others++
		}
	}
	return same, others
}

// Rule is what a trial shows of the rule in force that it may change.
type Rule struct {
	Name     string
	State    view.RuleState
	Revision uint64
	YAML     string
	// ReadOnly reports whether the rule can only be changed in a file; Where then
	// says in which one.
	ReadOnly bool
	Where    string
}

// Draft is a rule to put in force.
type Draft struct {
	// Was is the name of the rule that the draft changes, Revision the revision it
	// is based on; empty and 0 for a new rule.
	Was      string
	Revision uint64
	YAML     string
}
