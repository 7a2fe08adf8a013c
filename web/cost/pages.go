package cost

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	tariff "headwater/proto/cost"
	"headwater/proto/figure"
	"headwater/web/app"
	"headwater/web/ui"
)

// path is the address of the page.
const path = "/cost"

// maxText bounds one field of the form, in bytes.
const maxText = 80

// Pages are the page and the answer of the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: path, Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/api/v1/cost", Role: app.Viewer, BySite: true, Handle: p.api},
	}
}

// Facts are what the page shows.
type Facts struct {
	// Form holds the fields as they were typed.
	Form Form
	// Problem says what is wrong with them; empty if nothing is.
	Problem string
	// Compared is the answer; nil if there is a problem.
	Compared *tariff.Comparison
}

// Form is the form of the page, as it was typed.
type Form struct {
	Devices, Every, Payload, Alerts, Keep, Free string
}

// form reads the form; what is not given has its default.
func form(v url.Values) Form {
	u := tariff.DefaultUse()
	field := func(name, standard string) string {
		if text := strings.TrimSpace(v.Get(name)); text != "" {
			return figure.Clip(text, maxText)
		}
		return standard
	}
	var every []string
	for _, d := range tariff.Intervals() {
		every = append(every, strings.Replace(d.String(), "m0s", "m", 1))
	}
	return Form{
		Devices: field("devices", strconv.Itoa(u.Devices)),
		Every:   field("every", strings.Join(every, ", ")),
		Payload: field("payload", strconv.Itoa(u.Payload)),
		Alerts:  field("alerts", strconv.Itoa(u.Alerts)),
		Keep:    field("keep", strconv.Itoa(u.Keep)),
		Free:    field("free", string(tariff.FirstYear)),
	}
}

// compare computes the answer to a form.
func (f Form) compare(prices tariff.Prices) (*tariff.Comparison, error) {
	var problems []error
	number := func(name, text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			problems = append(problems, errors.New(name+" must be a whole number"))
		}
		return n
	}
	u := tariff.Use{
		Devices: number("devices", f.Devices), Payload: number("payload", f.Payload),
		Alerts: number("alerts", f.Alerts), Keep: number("keep", f.Keep),
	}
	var intervals []time.Duration
	for text := range strings.SplitSeq(f.Every, ",") {
		d, err := figure.ParseDuration(strings.TrimSpace(text))
		if err != nil {
			problems = append(problems, errors.New("every must be times such as 30s or 5m, with commas between them"))
			break
		}
		intervals = append(intervals, d)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	compared, err := prices.Compare(u, tariff.Free(f.Free), intervals)
	if err != nil {
		return nil, err
	}
	return &compared, nil
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f := Facts{Form: form(r.URL.Query())}
	status := http.StatusOK
	var err error
	if f.Compared, err = f.Form.compare(p.source.Prices()); err != nil {
		f.Problem, status = ui.Sentence(oneLine(err)), http.StatusBadRequest
	}
	p.shell.Page(w, r, status, app.Page{Title: "Cost", Section: "cost"}, Page(f))
}

func (p *Pages) api(w http.ResponseWriter, r *http.Request) {
	compared, err := form(r.URL.Query()).compare(p.source.Prices())
	if err != nil {
		p.shell.FailParameters(w, errors.New(oneLine(err)))
		return
	}
	p.shell.Answer(w, r, compared)
}

// oneLine writes joined errors as one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// part is a row of the tables: a part of the cloud.
type part struct {
	part  tariff.Part
	title string
}

var parts = []part{
	{tariff.Broker, "Message broker"},
	{tariff.Function, "Function"},
	{tariff.Table, "Table"},
	{tariff.Notification, "Notification"},
	{tariff.Backup, "Nightly backup"},
}

// bill is one of the two ways, as a table shows it.
type bill struct {
	id, title string
	of        func(tariff.Plan) tariff.Bill
}

var bills = []bill{
	{"cloud", "Everything to the cloud", func(p tariff.Plan) tariff.Bill { return p.Cloud }},
	{"edge", "Edge first", func(p tariff.Plan) tariff.Bill { return p.Edge }},
}

// money writes an amount.
func (f Facts) money(amount float64) string { return f.Compared.Prices.Money(amount) }

// bar is the width of the bar of an amount: its share of the largest of the page.
func (f Facts) bar(amount float64) string {
	most := 0.0
	for _, p := range f.Compared.Plans {
		most = max(most, p.Cloud.Total, p.Edge.Total)
	}
	if most == 0 {
		return "0%"
	}
	return fmt.Sprintf("%.1f%%", 100*amount/most)
}

// rows are the parts that the bills of the page have.
func (f Facts) rows(b bill) []part {
	var out []part
	for _, row := range parts {
		for _, l := range b.of(f.Compared.Plans[0]).Lines {
			if l.Part == row.part {
				out = append(out, row)
				break
			}
		}
	}
	return out
}

// last is the plan whose lines are shown one by one.
func (f Facts) last() tariff.Plan { return f.Compared.Plans[len(f.Compared.Plans)-1] }

// sources are the pages that the prices are from, each once.
func (f Facts) sources() []string {
	var out []string
	for _, s := range f.Compared.Prices.Sources() {
		if strings.HasPrefix(s, "https://") {
			out = append(out, s)
		}
	}
	return out
}

// free are the choices of free tiers.
var free = []struct{ value, words string }{
	{string(tariff.FirstYear), "all, as in the first year of an account"},
	{string(tariff.Always), "those that do not end"},
	{string(tariff.None), "none"},
}
