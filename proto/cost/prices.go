package cost

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// MaxFile bounds a file of prices, in bytes.
const MaxFile = 64 << 10

// Prices are what a provider charges in one region on one day.
type Prices struct {
	// Date is the day of the prices, such as 2026-11-28.
	Date     string `json:"date"`
	Provider string `json:"provider"`
	Region   string `json:"region"`
	Currency string `json:"currency"`
	// Note is what the prices leave out.
	Note   string `json:"note"`
	Meters Meters `json:"meters"`
}

// Meters are all that is charged for: those of the message broker (connection, message,
// rule, action), of the function (request, compute), of the table (write, table), of the
// notification (publish, push) and of the backup (put, archive).
type Meters struct {
	Connection Meter `json:"connection"`
	Message    Meter `json:"message"`
	Rule       Meter `json:"rule"`
	Action     Meter `json:"action"`
	Request    Meter `json:"request"`
	Compute    Meter `json:"compute"`
	Write      Meter `json:"write"`
	Table      Meter `json:"table"`
	Publish    Meter `json:"publish"`
	Push       Meter `json:"push"`
	Put        Meter `json:"put"`
	Archive    Meter `json:"archive"`
}

// Meter is one thing that is counted in a month and charged for.
type Meter struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Per is the number of units that a price is for.
	Per float64 `json:"per"`
	// Block is the number of bytes that count as one unit; 0 if size does not count.
	Block int `json:"block,omitempty"`
	// Steps are the prices by the units of the month, the first units first.
	Steps []Step `json:"steps"`
	// Free units of each month cost nothing, for FreeMonths after the account was
	// opened; 0 means always.
	Free       float64 `json:"free"`
	FreeMonths int     `json:"free_months,omitempty"`
	// Source is the page that the price is from.
	Source string `json:"source"`
}

// Step is the price of the units up to a number of them in the month; 0 means all others.
type Step struct {
	Price float64 `json:"price"`
	UpTo  float64 `json:"up_to,omitempty"`
}

//go:embed prices.json
var builtIn []byte

// BuiltIn returns the file of prices that Headwater brings, for people to change.
func BuiltIn() []byte { return bytes.Clone(builtIn) }

// Default returns the prices that Headwater brings.
func Default() Prices {
	p, err := Parse(builtIn)
	if err != nil {
		panic(err) // a test reads the file too
	}
	return p
}

// Parse reads a file of prices. All meters must be there.
func Parse(text []byte) (Prices, error) {
	var p Prices
	if len(text) > MaxFile {
		return p, fmt.Errorf("the prices have more than %d bytes", MaxFile)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return p, fmt.Errorf("read the prices: %w", err)
	}
	if decoder.More() {
		return p, errors.New("read the prices: more than one object")
	}
	if _, err := time.Parse(time.DateOnly, p.Date); err != nil {
		return p, fmt.Errorf("date: %q is not a day such as 2026-11-28", p.Date)
	}
	if p.Provider == "" || p.Region == "" || p.Currency == "" {
		return p, errors.New("provider, region and currency must be given")
	}
	for _, m := range p.Meters.all() {
		if err := m.check(); err != nil {
			return p, fmt.Errorf("meters: %s: %w", m.key, err)
		}
	}
	return p, nil
}

type keyed struct {
	key string
	Meter
}

// all returns the meters with the names that they have in the file.
func (m Meters) all() []keyed {
	return []keyed{
		{"connection", m.Connection},
		{"message", m.Message},
		{"rule", m.Rule},
		{"action", m.Action},
		{"request", m.Request},
		{"compute", m.Compute},
		{"write", m.Write},
		{"table", m.Table},
		{"publish", m.Publish},
		{"push", m.Push},
		{"put", m.Put},
		{"archive", m.Archive},
	}
}

func (m Meter) check() error {
	sound := func(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }
	switch {
	case m.Name == "" || m.Unit == "":
		return errors.New("name and unit must be given")
	case m.Source == "":
		return errors.New("source must say where the price is from")
	case m.Per <= 0 || math.IsInf(m.Per, 0):
		return errors.New("per must be above 0")
	case m.Block < 0 || m.FreeMonths < 0 || !sound(m.Free):
		return errors.New("block, free and free_months must be 0 or more")
	case len(m.Steps) == 0 || len(m.Steps) > 20:
		return errors.New("steps must hold 1 to 20 prices")
	}
	last := 0.0
	for i, s := range m.Steps {
		switch final := i == len(m.Steps)-1; {
		case !sound(s.Price):
			return errors.New("a price must be 0 or more")
		case final && s.UpTo != 0:
			return errors.New("the last step must have no up_to: it is for all other units")
		case !final && (s.UpTo <= last || math.IsInf(s.UpTo, 0)):
			return errors.New("up_to must rise from step to step")
		}
		last = s.UpTo
	}
	return nil
}

// Units returns how many units a thing of that many bytes counts as.
func (m Meter) Units(bytes int) float64 {
	if m.Block == 0 {
		return 1
	}
	return max(1, math.Ceil(float64(bytes)/float64(m.Block)))
}

// Charge returns what the units of one month cost. The free units are those of the first
// step.
func (m Meter) Charge(units float64, free Free) float64 {
	from := 0.0
	if free == FirstYear || free == Always && m.FreeMonths == 0 {
		from = m.Free
	}
	total, low := 0.0, 0.0
	for _, s := range m.Steps {
		high := units
		if s.UpTo > 0 {
			high = min(units, s.UpTo)
		}
		total += max(0, high-max(low, from)) / m.Per * s.Price
		low = s.UpTo
	}
	return total
}

// Sources returns the pages that the prices are from, each once.
func (p Prices) Sources() []string {
	var out []string
	for _, m := range p.Meters.all() {
		if !slices.Contains(out, m.Source) {
			out = append(out, m.Source)
		}
	}
	return out
}
