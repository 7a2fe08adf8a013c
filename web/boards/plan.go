package boards

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // a picture may be one
	_ "image/png"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Bounds of floor plans.
const (
	// MaxPlans is the greatest number of plans, and maxPins that of series on one.
	MaxPlans = 24
	maxPins  = 100
	// MaxPicture bounds a picture in bytes; leastSide and maxSide bound its sides and
	// maxPixels the whole in pixels, which a browser keeps in four bytes each.
	MaxPicture = 4 << 20
	leastSide  = 16
	maxSide    = 8192
	maxPixels  = 24_000_000
)

// PlanSource is the floor plans. Its errors are as of Source.
type PlanSource interface {
	// Plans returns all plans in the order of their titles.
	Plans() []Plan
	// Plan returns one plan; false when there is none of that id.
	Plan(id string) (Plan, bool)
	// CreatePlan stores a new plan with its picture, gives it its id, and returns it.
	CreatePlan(ctx context.Context, p Plan, picture []byte) (Plan, error)
	// ChangePlan is as ChangeBoard. A picture that is not nil replaces the one of the plan.
	ChangePlan(ctx context.Context, id, what string, picture []byte, change func(Plan) (Plan, error)) (Plan, error)
	// DeletePlan deletes a plan with its picture.
	DeletePlan(ctx context.Context, id string) error
	// PlanPicture returns the picture of a plan.
	PlanPicture(ctx context.Context, p Plan) ([]byte, error)
}

// Plan is a picture with series at their places.
type Plan struct {
	ID       string  `json:"id"`
	Revision uint64  `json:"revision,omitempty"`
	Title    string  `json:"title"`
	Picture  Picture `json:"picture"`
	Pins     []Pin   `json:"pins"`
}

// Picture describes the picture of a plan.
type Picture struct {
	// Type is image/png or image/jpeg.
	Type string `json:"type"`
	// Width and Height are in pixels.
	Width  int `json:"width"`
	Height int `json:"height"`
	// Hash is the SHA-256 of the picture, in hexadecimal digits.
	Hash string `json:"hash"`
}

// Pin is a series at its place.
type Pin struct {
	// Series is a name as of ui.SeriesName.
	Series string `json:"series"`
	// X and Y are shares of the width and the height, from the top left corner: 0 to 1.
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Placed returns the plan with its id and the revision of its entry.
func (p Plan) Placed(id string, revision uint64) Plan {
	p.ID, p.Revision = id, revision
	return p
}

// Clone returns a copy of the plan that shares no pins with it.
func (p Plan) Clone() Plan {
	p.Pins = slices.Clone(p.Pins)
	return p
}

// Validate returns why the plan cannot be as it is; its errors wrap ErrDraft.
func (p Plan) Validate() error {
	var problems []error
	if err := checkText("title", p.Title, maxTitle); err != nil || strings.TrimSpace(p.Title) == "" {
		problems = append(problems, fmt.Errorf("a plan needs a title of at most %d bytes", maxTitle))
	}
	if err := p.Picture.validate(); err != nil {
		problems = append(problems, err)
	}
	if len(p.Pins) > maxPins {
		problems = append(problems, fmt.Errorf("a plan may have %d series", maxPins))
	}
	seen := make(map[string]bool)
	for _, pin := range p.Pins[:min(len(p.Pins), maxPins)] {
		if err := checkSeries(pin.Series); err != nil {
			problems = append(problems, err)
		}
		if !(pin.X >= 0 && pin.X <= 1 && pin.Y >= 0 && pin.Y <= 1) {
			problems = append(problems, errors.New("a place must be within the picture"))
		}
		if seen[pin.Series] {
			problems = append(problems, errors.New("a series has one place on a plan"))
		}
		seen[pin.Series] = true
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %w", ErrDraft, errors.Join(problems...))
	}
	return nil
}

func (p Picture) validate() error {
	switch {
	case p.Type != "image/png" && p.Type != "image/jpeg":
		return errors.New("the picture must be PNG or JPEG")
	case p.Width < leastSide || p.Height < leastSide || p.Width > maxSide || p.Height > maxSide || p.Width*p.Height > maxPixels:
		return fmt.Errorf("the picture must have %d to %d pixels a side and at most %d in all", leastSide, maxSide, maxPixels)
	}
	return nil
}

// PictureOf describes a picture but for its hash. An error wraps ErrDraft.
func PictureOf(data []byte) (Picture, error) {
	if len(data) == 0 || len(data) > MaxPicture {
		return Picture{}, fmt.Errorf("%w: choose a picture of at most %d MiB", ErrDraft, MaxPicture>>20)
	}
	cfg, kind, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return Picture{}, fmt.Errorf("%w: the picture must be PNG or JPEG", ErrDraft)
	}
	p := Picture{Type: "image/" + kind, Width: cfg.Width, Height: cfg.Height}
	if err := p.validate(); err != nil {
		return p, fmt.Errorf("%w: %w", ErrDraft, err)
	}
	return p, nil
}

// pin returns where a series is in the list of pins; -1 if it is not there.
func (p Plan) pin(series string) int {
	return slices.IndexFunc(p.Pins, func(pin Pin) bool { return pin.Series == series })
}

// place puts series that have no place yet below each other.
func (p Plan) place(series []string) Plan {
	for i, name := range series {
		if p.pin(name) < 0 {
			p.Pins = append(p.Pins, Pin{Series: name, X: 0.5, Y: min(0.95, 0.1+0.08*float64(i))})
		}
	}
	return p
}

// MayDelete reports whether somebody may delete a plan, which takes its picture with it.
func (p Plan) MayDelete(who app.Principal) bool { return who.May(app.Administrator) }

// PlanFacts are what the page of a plan shows, and a tile with a plan.
type PlanFacts struct {
	Plan Plan
	Pins []ShownPin
	// Gone reports that the plan has been deleted.
	Gone bool
	// Edit reports whether the plan is being arranged.
	Edit bool
	// Picture is the address of the picture.
	Picture string
	// Bare leaves out the links.
	Bare bool
	// Text is what is searched for, and Found the series that can be placed.
	Text    string
	Found   []Found
	More    bool
	Problem string
}

// ShownPin is a series at its place.
type ShownPin struct {
	Pin
	Series
	// ID tells the pins of a plan apart.
	ID string
}

// planFacts returns what a plan shows.
func planFacts(p Plan, device func(site, dev string) (view.Device, bool)) PlanFacts {
	f := PlanFacts{Plan: p, Picture: planURL(p.ID) + "/picture?v=" + p.Picture.Hash[:min(16, len(p.Picture.Hash))]}
	for i, pin := range p.Pins {
		s := show(Tile{Series: []string{pin.Series}}, device)
		f.Pins = append(f.Pins, ShownPin{Pin: pin, Series: s.Shows[0], ID: "pin-" + strconv.Itoa(i)})
	}
	return f
}

// shape changes when more than values change.
func (f PlanFacts) shape() string {
	var b strings.Builder
	b.WriteString(strconv.FormatUint(f.Plan.Revision, 10) + " " + strconv.FormatBool(f.Gone))
	for _, p := range f.Pins {
		b.WriteString(" " + strconv.FormatBool(p.Known) + string(p.Metric.Kind))
	}
	return b.String()
}

// attributes are what the script of a plan has to know.
func (f PlanFacts) attributes() templ.Attributes {
	out := templ.Attributes{"data-ratio": strconv.FormatFloat(float64(max(1, f.Plan.Picture.Width))/float64(max(1, f.Plan.Picture.Height)), 'f', 4, 64)}
	if f.Edit {
		out["data-place"] = planURL(f.Plan.ID) + "/pins"
	}
	return out
}

// percent is a share as a form has it.
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(1000*share)/10, 'f', -1, 64)
}

// share reads what percent wrote.
func share(text string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(n >= 0 && n <= 100) {
		return 0, fmt.Errorf("%w: a place must be 0 to 100 %% of the picture", ErrDraft)
	}
	return n / 100, nil
}

// pinClass tells the states of a device apart.
func pinClass(s Series) string {
	switch {
	case !s.Known:
		return "pin pin-unknown"
	case s.From.State == view.StateFiring:
		return "pin pin-firing"
	case s.From.State != view.StateOK:
		return "pin pin-silent"
	}
	return "pin"
}

// planURL is the page of a plan.
func planURL(id string) string { return PlansPath + "/" + url.PathEscape(id) }

// words says how much is on a plan.
func (p Plan) words() string {
	return ui.Plural(len(p.Pins), "series", "series") + ", " + strconv.Itoa(p.Picture.Width) + " × " + strconv.Itoa(p.Picture.Height) + " pixels"
}

// byTitle orders plans and boards.
func byTitle(titleA, titleB, idA, idB string) int {
	return cmp.Or(cmp.Compare(strings.ToLower(titleA), strings.ToLower(titleB)), cmp.Compare(idA, idB))
}

// ComparePlans orders plans by their titles.
func ComparePlans(a, b Plan) int { return byTitle(a.Title, b.Title, a.ID, b.ID) }
