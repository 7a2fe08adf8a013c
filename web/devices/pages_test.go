package devices_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headwater/web"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestPages(t *testing.T) {
	for _, c := range []struct {
		state          fixture.State
		session, path  string
		form           string
		status         int
		text, location string
	}{
		{fixture.Warehouse, "administrator", "/credentials", "", 200, `action="/credentials/door-01/rotate"`, ""},
		{fixture.Warehouse, "administrator", "/credentials", "", 200, "warehouse/*=allowed", ""},
		{fixture.Warehouse, "operator", "/credentials", "", 200, "warehouse/door-01, warehouse/door-02, warehouse/door-03, warehouse/door-04 and 8 more", ""},
		{fixture.Warehouse, "viewer", "/credentials", "", 403, "role operator", ""},
		{fixture.Away, "administrator", "/credentials", "", 503, "cannot be read", ""},
		{fixture.Empty, "administrator", "/credentials", "", 200, "It is not known which devices wait", ""},
		{fixture.Warehouse, "administrator", "/credentials", "devices=hall/door-1&kind=device&give=token&name=door-1", 200, "SECRET", ""},
		{fixture.Warehouse, "administrator", "/credentials", "devices=hall/door-1&kind=device&give=claim&name=door-1", 200, "http://example.com/claim?code=door-1.CODE", ""},
		{fixture.Warehouse, "administrator", "/credentials", "devices=attic/sensor-9&give=none", 303, "", "/credentials"},
		{fixture.Warehouse, "administrator", "/credentials", "devices=", 400, "The credential was not made", ""},
		{fixture.Warehouse, "operator", "/credentials", "devices=hall/door-1", 403, "role administrator", ""},
		{fixture.Warehouse, "administrator", "/credentials/door-01/rotate", "x=1", 200, `aria-label="The password as a QR code"`, ""},
		{fixture.Warehouse, "administrator", "/credentials/gone/rotate", "x=1", 404, "not changed", ""},
		{fixture.Warehouse, "administrator", "/credentials/door-01/claim", "x=1", 200, "for the camera of a phone", ""},
		{fixture.Warehouse, "administrator", "/credentials/door-01/revoke", "x=1", 303, "", "/credentials"},
		{fixture.Warehouse, "administrator", "/credentials/gone/approve", "x=1", 404, "not let in", ""},
		{fixture.Warehouse, "administrator", "/unknown-devices", "others=refused&exceptions=hall/*=allowed%0D%0Aattic/x=quarantined", 303, "", "/credentials"},
		{fixture.Warehouse, "administrator", "/unknown-devices", "others=refused&exceptions=hall", 400, "is not an exception such as", ""},
		{fixture.Warehouse, "nobody", "/claim?code=door-01.CODE", "", 200, "Show the password", ""},
		{fixture.Warehouse, "nobody", "/claim?code=door-01.OLD", "", 404, "used already or has expired", ""},
		{fixture.Warehouse, "nobody", "/claim", "code=door-01.CODE", 200, "sensors/warehouse/door-01/temperature", ""},
		{fixture.Warehouse, "nobody", "/claim", "code=door-01.OLD", 404, "used already or has expired", ""},
	} {
		s := webtest.Server(t, c.state)
		var res *http.Response
		var body string
		if c.form == "" {
			res, body = webtest.Get(t, s, http.MethodGet, c.path, "Cookie", "headwater="+c.session)
		} else {
			res, body = webtest.Post(t, s, c.path, c.form, "Cookie", "headwater="+c.session)
		}
		if res.StatusCode != c.status || !strings.Contains(body, c.text) || res.Header.Get("Location") != c.location {
			t.Errorf("%s as %s with %q: %d to %q, does it hold %q? %t", c.path, c.session, c.form, res.StatusCode, res.Header.Get("Location"), c.text, strings.Contains(body, c.text))
		}
		if c.path != "/credentials" && strings.HasPrefix(c.path, "/claim") && c.form == "" && strings.Contains(body, "SECRET") {
			t.Errorf("%s shows the password to a person who only looks", c.path)
		}
	}
}

// TestWhereDevicesConnect compares the shown address with how the page is reached.
func TestWhereDevicesConnect(t *testing.T) {
	for _, c := range []struct{ mqtt, host, shown string }{
		{"", "example.com:8080", "example.com, port 1883"},
		{"0.0.0.0:1884", "192.168.1.5:8080", "192.168.1.5, port 1884"},
		{"mqtts://broker.lan:8883", "example.com", "broker.lan, port 8883, with TLS"},
		{":1883", "[fe80::1]:8080", "fe80::1, port 1883"},
	} {
		s, err := web.New(web.Config{MQTT: c.mqtt}, fixture.New(fixture.Warehouse, webtest.Now).Sources(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/credentials/door-01/rotate", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		body, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(strings.Fields(strings.ReplaceAll(string(body), "\n", " ")), " "); !strings.Contains(text, c.shown) {
			t.Errorf("with %q, reached as %q: no %q", c.mqtt, c.host, c.shown)
		}
	}
}
