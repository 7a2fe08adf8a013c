package app

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"headwater/web/static"
	"headwater/web/view"
)

// entry is one page of the navigation.
type entry struct {
	// Section is what the pages that belong to the entry have as their Section.
	Section string
	// Path is the address. Who may open its route sees the entry; without a route
	// nobody does.
	Path, Label string
}

// menu is one item of the navigation: a link if its reader sees one entry of it, or else
// a list of them that opens.
type menu struct {
	// Name is the Section of pages that belong to the menu and to no entry of it.
	Name, Label string
	// Icon is the path of its sign on a narrow screen, drawn as a line in a square of 24.
	Icon    string
	Entries []entry
}

// menus are the whole navigation. A page is added with one line.
var menus = []menu{
	{"", "Overview", "M4 4h6v9H4zM14 11h6v9h-6zM4 17h6v3H4zM14 4h6v3h-6z", []entry{
		{"overview", "/", "Overview"},
	}},
	{"devices", "Devices", "M12 10v11M8 21h8M12 10a1 1 0 1 0 0-2 1 1 0 0 0 0 2M8.500 13a5.500 5.500 0 0 1 0-8M15.500 5a5.500 5.500 0 0 1 0 8M5.700 15.500a9.500 9.500 0 0 1 0-13M18.300 2.500a9.500 9.500 0 0 1 0 13", []entry{
		{"connect", "/connect", "Connect a device"},
		{"registry", "/registry", "Registry"},
		{"health", "/health", "Sensor health"},
		{"credentials", "/credentials", "Credentials"},
	}},
	{"", "Alerts", "M6 10a6 6 0 0 1 12 0c0 5.500 2 7 2 7H4s2-1.500 2-7M10 20.500h4", []entry{
		{"alerts", "/alerts", "Alerts"},
	}},
	{"", "Rules", "M4 7h7M15 7h5M4 17h3M11 17h9M13 4v6M9 14v6", []entry{
		{"rules", "/rules", "Rules"},
		{"silences", "/silences", "Silences"},
		{"channels", "/channels", "Channels"},
		{"oncall", "/oncall", "On call"},
	}},
	{"", "Explore", "M4 4v16h16M8 15l4-5 3 3 5-7", []entry{
		{"explore", "/explore", "Explore"},
		{"boards", "/boards", "Boards"},
		{"plans", "/plans", "Floor plans"},
		{"annotations", "/annotations", "Annotations"},
	}},
	{"", "System", "M4 5h16v6H4zM4 13h16v6H4zM7.500 8h.01M7.500 16h.01", []entry{
		{"pipeline", "/pipeline", "Pipeline"},
		{"ledger", "/ledger", "Ledger"},
		{"deadletters", "/deadletters", "Dead letters"},
		{"edges", "/edges", "Edges"},
		{"people", "/people", "People and tokens"},
		{"functions", "/functions", "Functions"},
		{"cost", "/cost", "Cost"},
		{"audit", "/audit", "Audit"},
		{"trust", "/trust", "Certificate"},
	}},
}

// menusFor returns what a principal sees of the navigation.
func (s *Shell) menusFor(p Principal) []menu {
	if !p.May(Viewer) {
		return nil
	}
	var out []menu
	for _, m := range menus {
		m.Entries = slices.DeleteFunc(slices.Clone(m.Entries), func(e entry) bool {
			route := s.pages[e.Path]
			return !p.May(route.Role) || p.Limited() && !route.BySite && route.Role != Public
		})
		if len(m.Entries) > 0 {
			out = append(out, m)
		}
	}
	return out
}

// only returns the one entry of the menu that its reader sees.
func (m menu) only() (entry, bool) { return m.Entries[0], len(m.Entries) == 1 }

// label is the text of the menu in the bar.
func (m menu) label() string {
	if e, only := m.only(); only && m.Name == "" {
		return e.Label
	}
	return m.Label
}

// current is the value of aria-current of an item of the bar on a page of the section.
func (m menu) current(section string) string {
	e, only := m.only()
	switch {
	case only && e.Section == section:
		return "page"
	case section != "" && m.holds(section):
		return "true"
	}
	return "false"
}

// holds reports whether pages of a section belong to the menu.
func (m menu) holds(section string) bool {
	return m.Name == section || slices.ContainsFunc(m.Entries, func(e entry) bool { return e.Section == section })
}

// counted reports whether the entry of a section has a badge.
func counted(section string) bool { return section == "alerts" || section == "deadletters" }

// count returns what the badge of a section counts, and the word for it.
func count(section string, s view.Status) (text, word string) {
	switch {
	case section == "alerts" && s.Firing > 0:
		return strconv.Itoa(s.Firing), "firing"
	case section == "deadletters" && s.DeadLetters > 0:
		return short(s.DeadLetters), "dead letters"
	}
	return "", ""
}

// titlePrefix stands before the title of a page, so that a tab shows how many alerts
// fire. The script app.js keeps it and the icon up to date.
func titlePrefix(s view.Status) string {
	if s.Firing == 0 {
		return ""
	}
	return "(" + strconv.Itoa(s.Firing) + ") "
}

// iconURL is the address of the icon with the number of firing alerts.
func iconURL(s view.Status) string {
	if s.Firing == 0 {
		return IconPath
	}
	return IconPath + "?firing=" + strconv.Itoa(s.Firing)
}

// IconPath is the address of the icon of the pages.
const IconPath = "/icon.svg"

// Icon serves the icon of the pages: with ?firing=N it has the number on it.
func Icon(w http.ResponseWriter, r *http.Request) {
	body := static.Body("icon.svg")
	if n, err := strconv.Atoi(r.FormValue("firing")); err == nil && n > 0 {
		mark := fmt.Sprintf(`<circle cx="21.500" cy="21.500" r="10.500" fill="#c5221f" stroke="#fff"/>`+
			`<text x="21.500" y="26.500" font-family="sans-serif" font-size="14" font-weight="700" text-anchor="middle" fill="#fff">%d</text></svg>`, min(n, 99))
		body = slices.Concat(bytes.TrimSuffix(bytes.TrimSpace(body), []byte("</svg>")), []byte(mark))
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	_, _ = w.Write(body) // a browser that went away needs no answer
}
