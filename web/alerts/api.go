package alerts

import (
	"net/http"

	"headwater/web/app"
)

func (p *Pages) apiAlerts(w http.ResponseWriter, r *http.Request) {
	n, err := app.Number(r, "resolved", resolvedShown, maxResolved)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	a := p.alerts(n)
	a.Active, a.Resolved = app.OrEmpty(a.Active), app.OrEmpty(a.Resolved)
	p.shell.Answer(w, r, a)
}
