package registry

import (
	"fmt"
	"net/http"
	"strings"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// of returns the device of the address.
func of(r *http.Request) (n Name, err error) {
	n = Name{r.PathValue("site"), r.PathValue("device")}
	if !app.ValidToken(n.Site) || !app.ValidToken(n.Device) {
		err = view.ErrNotFound
	}
	return n, err
}

// mergeInto has the device that is named continue that of the address. A name without a site
// is of the same site.
func (p *Pages) mergeInto(r *http.Request, by view.Author, text string) (into Name, err error) {
	from, err := of(r)
	if err != nil {
		return into, err
	}
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "/") {
		text = from.Site + "/" + text
	}
	into.Site, into.Device, err = device(text)
	if err != nil {
		return into, fmt.Errorf("%w: %w", ErrDraft, err)
	}
	return into, p.source.MergeDevice(r.Context(), by.Who, from, into)
}

func (p *Pages) merge(w http.ResponseWriter, r *http.Request) {
	err := app.Form(w, r, app.MaxForm)
	var by view.Author
	if err == nil {
		by, err = app.Author(w, r, r.PostForm)
	}
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	into, err := p.mergeInto(r, by, r.PostForm.Get("into"))
	if err != nil {
		p.form(w, r, status(err), Form{Problem: err.Error()})
		return
	}
	http.Redirect(w, r, ui.DeviceURL(into.Site, into.Device), http.StatusSeeOther)
}

func (p *Pages) apiMerge(w http.ResponseWriter, r *http.Request) {
	by, err := app.AuthorOfAPI(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	into, err := p.mergeInto(r, by, r.URL.Query().Get("into"))
	if err != nil {
		p.shell.Fail(w, status(err), "Nothing was changed: "+err.Error()+".")
		return
	}
	p.shell.Answer(w, r, struct {
		Site   string `json:"site"`
		Device string `json:"device"`
	}{into.Site, into.Device})
}

func (p *Pages) delete(w http.ResponseWriter, r *http.Request) {
	err := app.Form(w, r, app.MaxForm)
	var by view.Author
	if err == nil {
		by, err = app.Author(w, r, r.PostForm)
	}
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	n, err := of(r)
	var out Removed
	switch {
	case err != nil:
	case strings.TrimSpace(r.PostForm.Get("confirm")) != n.Device:
		err = fmt.Errorf("%w: type %s to confirm", ErrDraft, n.Device)
	default:
		out, err = p.source.DeleteDevice(r.Context(), by.Who, n.Site, n.Device, r.PostForm.Get("force") != "")
	}
	if err != nil {
		p.form(w, r, status(err), Form{Problem: err.Error()})
		return
	}
	p.list(w, r, http.StatusOK, Facts{Removed: &out})
}

func (p *Pages) apiDelete(w http.ResponseWriter, r *http.Request) {
	by, err := app.AuthorOfAPI(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	n, err := of(r)
	var out Removed
	if err == nil {
		out, err = p.source.DeleteDevice(r.Context(), by.Who, n.Site, n.Device, r.URL.Query().Get("force") == "1")
	}
	if err != nil {
		p.shell.Fail(w, status(err), "Nothing was deleted: "+err.Error()+".")
		return
	}
	p.shell.Answer(w, r, out)
}
