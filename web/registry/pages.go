package registry

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Path is the address of the list.
const Path = "/registry"

const (
	// onPage is how many devices the list shows, inChunk how many are read at once for all
	// of them.
	onPage  = 100
	inChunk = 500
	// maxForm bounds the form of one device, maxBulk that of many, in bytes.
	maxForm = 256 << 10
	maxBulk = 64 << 10
)

// Pages are the list of devices with what people say about them, the form of one device, and
// the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "POST", Path: Path, Role: app.Operator, BySite: true, Handle: p.bulk},
		{Method: "POST", Path: Path + "/import", Role: app.Operator, BySite: true, Handle: p.importForm},
		{Method: "GET", Path: "/devices/{site}/{device}/edit", Role: app.Operator, BySite: true, Handle: p.edit},
		{Method: "POST", Path: "/devices/{site}/{device}/edit", Role: app.Operator, BySite: true, Handle: p.save},
		{Method: "POST", Path: "/devices/{site}/{device}/merge", Role: app.Operator, BySite: true, Handle: p.merge},
		{Method: "POST", Path: "/devices/{site}/{device}/delete", Role: app.Administrator, BySite: true, Handle: p.delete},
		{Method: "POST", Path: "/api/v1/devices/{site}/{device}/merge", Role: app.Operator, BySite: true, Handle: p.apiMerge},
		{Method: "DELETE", Path: "/api/v1/devices/{site}/{device}", Role: app.Administrator, BySite: true, Handle: p.apiDelete},
		{Method: "GET", Path: Path + ".csv", Role: app.Viewer, BySite: true, Handle: p.export},
		{Method: "POST", Path: "/api/v1/registry/import", Role: app.Operator, BySite: true, Handle: p.apiImport},
		{Method: "PUT", Path: "/api/v1/devices/{site}/{device}/about", Role: app.Operator, BySite: true, Handle: p.apiSave},
	}
}

// Facts are what the list shows.
type Facts struct {
	Text    string
	Devices []view.Device
	// Next is the address of the next page; empty if there is none.
	Next string
	// Rooms are the rooms of the devices shown, for the form.
	Rooms   []string
	Outcome *Outcome
	Removed *Removed
	Problem string
}

// exportURL is the address of the list as CSV.
func (f Facts) exportURL() string {
	if f.Text == "" {
		return Path + ".csv"
	}
	return Path + ".csv?" + url.Values{"q": {f.Text}}.Encode()
}

func shellPage() app.Page { return app.Page{Title: "Device registry", Section: "registry"} }

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	p.list(w, r, http.StatusOK, Facts{})
}

// list renders the list.
func (p *Pages) list(w http.ResponseWriter, r *http.Request, status int, f Facts) {
	q, err := query(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	q.Size = onPage + 1
	f.Text, f.Devices = q.Text, p.source.After(q)
	if len(f.Devices) > onPage {
		f.Devices = f.Devices[:onPage]
		last := f.Devices[onPage-1]
		f.Next = Path + "?" + url.Values{"q": {q.Text}, "after": {last.Site + "/" + last.Device}}.Encode()
	}
	rooms := make(map[string]bool)
	for _, d := range f.Devices {
		if d.About.Room != "" && d.About.Room == view.Plain(d.About.Room) {
			rooms[d.About.Room] = true
		}
	}
	f.Rooms = slices.Sorted(maps.Keys(rooms))
	p.shell.Page(w, r, status, shellPage(), Page(f))
}

// query reads which devices are asked for.
func query(r *http.Request) (q Query, err error) {
	q.Text, err = app.Text(r)
	if after := r.FormValue("after"); err == nil && after != "" {
		q.Site, q.Device, err = device(after)
	}
	return q, err
}

// device reads site/device.
func device(text string) (site, device string, err error) {
	site, device, _ = strings.Cut(text, "/")
	if !app.ValidToken(site) || !app.ValidToken(device) {
		return "", "", fmt.Errorf("%q is not site/device", app.Clip(text))
	}
	return site, device, nil
}

// all calls each with all devices of a query, a chunk at a time, until it returns an error.
func (p *Pages) all(q Query, each func(view.Device) error) error {
	q.Size = inChunk
	for {
		chunk := p.source.After(q)
		for _, d := range chunk {
			if err := each(d); err != nil {
				return err
			}
		}
		if len(chunk) < q.Size {
			return nil
		}
		last := chunk[len(chunk)-1]
		q.Site, q.Device = last.Site, last.Device
	}
}

// export answers with the list as CSV, chunk by chunk.
func (p *Pages) export(w http.ResponseWriter, r *http.Request) {
	text, err := app.Text(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="devices.csv"`)
	out := csv.NewWriter(w)
	err = writeHeader(out)
	if err == nil {
		err = p.all(Query{Text: text}, func(d view.Device) error { return errors.Join(writeDevice(out, d), r.Context().Err()) })
	}
	out.Flush()
	_ = errors.Join(err, out.Error()) // a client that has left needs no answer
}

// bulk changes the devices that the form names, or all that match its filter.
func (p *Pages) bulk(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxBulk); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	changes, what, err := p.bulkChanges(r)
	p.change(w, r, what, changes, err)
}

// errNothing is returned for a form that asks for nothing.
var errNothing = errors.New("choose devices, and a room, an interval or tags to set or to remove")

// errMany is returned for a change of too many devices.
var errMany = fmt.Errorf("that is more than %d devices", MaxChanges)

func (p *Pages) bulkChanges(r *http.Request) (changes []Change, what string, err error) {
	v := r.PostForm
	room, clearRoom := strings.TrimSpace(v.Get("room")), v.Get("clear_room") != ""
	tags, err := parseTags(v.Get("tags"))
	interval, err2 := parseSpan(v.Get("interval"))
	if err := errors.Join(err, err2); err != nil {
		return nil, "", err
	}
	clearInterval := v.Get("clear_interval") != ""
	var drop, words []string
	for part := range strings.FieldsFuncSeq(v.Get("remove_tags"), func(r rune) bool { return strings.ContainsRune(",; \n\r", r) }) {
		drop = append(drop, part)
	}
	switch {
	case clearRoom:
		words, room = append(words, "no room"), ""
	case room != "":
		words = append(words, "room "+room)
	}
	switch {
	case clearInterval:
		words, interval = append(words, "no interval"), 0
	case interval != 0:
		words = append(words, "interval "+interval.String())
	}
	if len(tags) > 0 {
		words = append(words, "tags "+joinTags(tags))
	}
	if len(drop) > 0 {
		words = append(words, "without tags "+strings.Join(drop, ", "))
	}
	if len(words) == 0 {
		return nil, "", errNothing
	}
	apply := func(a view.DeviceAbout) view.DeviceAbout {
		if room != "" || clearRoom {
			a.Room = room
		}
		if interval != 0 || clearInterval {
			a.Interval = interval
		}
		a.Tags = maps.Clone(a.Tags)
		for _, name := range drop {
			delete(a.Tags, name)
		}
		if a.Tags == nil {
			a.Tags = make(map[string]string)
		}
		maps.Copy(a.Tags, tags)
		return a
	}
	add := func(site, device string) error {
		if len(changes) == MaxChanges {
			return errMany
		}
		changes = append(changes, Change{Site: site, Device: device, Apply: apply})
		return nil
	}
	if v.Get("all") != "" {
		q, err := query(r)
		if err == nil {
			err = p.all(Query{Text: q.Text}, func(d view.Device) error { return add(d.Site, d.Device) })
		}
		return changes, strings.Join(words, ", "), err
	}
	for _, text := range v["device"] {
		site, dev, err := device(text)
		if err == nil {
			err = add(site, dev)
		}
		if err != nil {
			return nil, "", err
		}
	}
	if len(changes) == 0 {
		return nil, "", errNothing
	}
	return changes, strings.Join(words, ", "), nil
}

// change makes changes and shows what came of them on the list.
func (p *Pages) change(w http.ResponseWriter, r *http.Request, what string, changes []Change, err error) {
	var f Facts
	if err == nil {
		var by view.Author
		by, err = app.Author(w, r, r.PostForm)
		var out Outcome
		if err == nil {
			out, err = p.source.Describe(r.Context(), by.Who, what, changes)
			f.Outcome = &out
		}
	}
	code := http.StatusOK
	if err != nil {
		f, code = Facts{Problem: err.Error()}, status(err)
	}
	p.list(w, r, code, f)
}

// importForm takes the file of a form of several parts; nothing of it is kept in memory or on
// a disk but what it says.
func (p *Pages) importForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxCSV)
	changes, err := func() ([]Change, error) {
		parts, err := r.MultipartReader()
		if err != nil {
			return nil, fmt.Errorf("the form cannot be read: %w", err)
		}
		for {
			part, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				return nil, errors.New("choose a file")
			}
			if err != nil {
				return nil, fmt.Errorf("the form cannot be read: %w", err)
			}
			if part.FormName() == "file" {
				return readCSV(part)
			}
		}
	}()
	p.change(w, r, "import of a table", changes, err)
}

func (p *Pages) apiImport(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxCSV)
	by, err := app.AuthorOfAPI(r)
	var changes []Change
	if err == nil {
		changes, err = readCSV(r.Body)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	out, err := p.source.Describe(r.Context(), by.Who, "import of a table", changes)
	if err != nil {
		p.shell.Fail(w, status(err), "Nothing was changed: "+err.Error()+".")
		return
	}
	p.shell.Answer(w, r, out)
}

// Form is the form of one device.
type Form struct {
	Device view.Device
	// Said is what the fields hold, Fixed what the configuration file says, which can't be
	// changed here.
	Said, Fixed view.DeviceAbout
	// Texts are the fields as they were sent, if they did not fit; nil otherwise.
	Texts   url.Values
	Problem string
	// Former are the devices that it continues.
	Former []Name
}

// text returns the content of a field.
func (f Form) text(name, said string) string {
	if sent, there := f.Texts[name]; there {
		return sent[0]
	}
	return said
}

// tags returns the tags that can be changed, one a line.
func (f Form) tags() string {
	own := maps.Clone(f.Said.Tags)
	for name := range f.Fixed.Tags {
		delete(own, name)
	}
	return f.text("tags", strings.Join(view.DeviceAbout{Tags: own}.TagList(), "\n"))
}

// metrics are the names of the metrics of the device, and of those about which something is
// said.
func (f Form) metrics() []string {
	all := make(map[string]bool)
	for _, m := range f.Device.Metrics {
		all[m.Name] = true
	}
	for name := range f.Said.Metrics {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// unitOf returns the unit that numbers of a metric come with.
func (f Form) unitOf(metric string) string {
	for _, m := range f.Device.Metrics {
		if m.Name == metric {
			return m.Unit
		}
	}
	return ""
}

func digits(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func (p *Pages) edit(w http.ResponseWriter, r *http.Request) {
	p.form(w, r, http.StatusOK, Form{})
}

// form renders the form of the device of the address.
func (p *Pages) form(w http.ResponseWriter, r *http.Request, code int, f Form) {
	var ok bool
	site, dev := r.PathValue("site"), r.PathValue("device")
	if app.ValidToken(site) && app.ValidToken(dev) {
		f.Device, ok = p.source.Device(site, dev)
	}
	if !ok {
		p.shell.Page(w, r, http.StatusNotFound, app.Page{Title: "Not found"},
			ui.NotFound("No device "+app.Clip(site)+"/"+app.Clip(dev)+" has reported.", []ui.Link{{Href: "/", Text: "All devices"}}))
		return
	}
	f.Said, f.Fixed, f.Former = f.Device.About, p.source.Fixed(site, dev), p.source.Former(site, dev)
	p.shell.Page(w, r, code, app.Page{Title: "Edit " + f.Device.Label(), Section: "registry"}, EditPage(f))
}

func (p *Pages) save(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	site, dev := r.PathValue("site"), r.PathValue("device")
	if _, ok := p.source.Device(site, dev); !ok {
		p.form(w, r, http.StatusNotFound, Form{})
		return
	}
	said, err := formAbout(r.PostForm)
	var by view.Author
	if err == nil {
		by, err = app.Author(w, r, r.PostForm)
	}
	if err == nil {
		err = p.saveOne(r, by, said)
	}
	if err != nil {
		p.form(w, r, status(err), Form{Texts: r.PostForm, Problem: err.Error()})
		return
	}
	http.Redirect(w, r, ui.DeviceURL(site, dev), http.StatusSeeOther)
}

// saveOne has what is said about the device of the address be the given.
func (p *Pages) saveOne(r *http.Request, by view.Author, said view.DeviceAbout) error {
	out, err := p.source.Describe(r.Context(), by.Who, "", []Change{{
		Site: r.PathValue("site"), Device: r.PathValue("device"), Apply: func(view.DeviceAbout) view.DeviceAbout { return said },
	}})
	if err == nil && len(out.Failed) > 0 {
		err = fmt.Errorf("%w: %s", ErrDraft, out.Failed[0].Reason)
	}
	return err
}

// metricField is the name of a field of a metric in the form.
func metricField(field, metric string) string { return "m." + field + "." + metric }

// formAbout reads the form of one device.
func formAbout(v url.Values) (view.DeviceAbout, error) {
	text := func(name string) string { return strings.TrimSpace(strings.ReplaceAll(v.Get(name), "\r\n", "\n")) }
	a := view.DeviceAbout{Name: text("name"), Room: text("room"), Location: text("location"), Notes: text("notes")}
	var problems []error
	note := func(metric string, err error) {
		if err != nil && metric != "" {
			err = fmt.Errorf("%s: %w", app.Clip(metric), err)
		}
		problems = append(problems, err)
	}
	var err error
	a.Tags, err = parseTags(v.Get("tags"))
	note("", err)
	a.Interval, err = parseSpan(v.Get("interval"))
	note("", err)
	for _, name := range v["metric"] {
		if !app.ValidToken(name) {
			note("", app.TokenError("metric"))
			continue
		}
		m := view.MetricAbout{Name: text(metricField("name", name)), Unit: text(metricField("unit", name))}
		m.Precision, err = parsePrecision(text(metricField("precision", name)))
		note(name, err)
		m.Low, err = parseNumber("low", text(metricField("low", name)))
		note(name, err)
		m.High, err = parseNumber("high", text(metricField("high", name)))
		note(name, err)
		m.Interval, err = parseSpan(text(metricField("interval", name)))
		note(name, err)
		setMetric(&a, name, m)
	}
	return a, errors.Join(problems...)
}

func (p *Pages) apiSave(w http.ResponseWriter, r *http.Request) {
	if !app.ValidToken(r.PathValue("site")) || !app.ValidToken(r.PathValue("device")) {
		p.shell.Fail(w, http.StatusNotFound, "There is no such device.")
		return
	}
	var said view.DeviceAbout
	err := app.JSON(w, r, maxForm, &said)
	var by view.Author
	if err == nil {
		by, err = app.AuthorOfAPI(r)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	if err := p.saveOne(r, by, said); err != nil {
		p.shell.Fail(w, status(err), "Nothing was changed: "+err.Error()+".")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// status returns the status of an answer that stands for an error of the source.
func status(err error) int {
	switch {
	case errors.Is(err, view.ErrUnavailable):
		return http.StatusServiceUnavailable
	case errors.Is(err, view.ErrNotFound):
		return http.StatusNotFound
	}
	return http.StatusBadRequest
}

// failedWords ends the sentence about an outcome.
func failedWords(o Outcome) string {
	if o.Failures == 0 {
		return ""
	}
	return ", " + ui.Plural(o.Failures, "was", "were") + " not changed"
}

// batteryWords says how full the battery of a device is; empty if the device does not.
func batteryWords(d view.Device) string {
	m, ok := d.Battery()
	if !ok {
		return ""
	}
	return m.Shown() + ui.UnitOf(m)
}

// deletedWords ends the sentence about a deletion.
func deletedWords(r Removed) string {
	if r.History == "" {
		return " deleted, with the history."
	}
	return " deleted; " + r.History + "."
}

// formerWords names devices.
func formerWords(all []Name) string {
	words := make([]string, len(all))
	for i, n := range all {
		words[i] = n.String()
	}
	return strings.Join(words, ", ")
}

// briefWords is in one line what a narrow screen has no columns for.
func briefWords(d view.Device) string {
	var words []string
	for _, one := range append([]string{d.About.Room, d.About.Location}, append(d.About.TagList(), batteryWords(d), d.Firmware())...) {
		if one != "" {
			words = append(words, view.Plain(one))
		}
	}
	return strings.Join(words, " · ")
}
