package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"headwater/services/gateway"
	"headwater/services/internal/credentials"
	"headwater/streams/streamtest"
)

// senders is a gateway with the credentials door-1 of hall/door-1, gw of yard/*, and gone,
// which is revoked.
type senders struct {
	*fixture
	door, gateway, gone string
}

func withCredentials(t *testing.T, change ...func(*gateway.Config)) senders {
	t.Helper()
	f := senders{fixture: run(t, change...)}
	create := func(name string, kind credentials.Kind, state credentials.State, p credentials.Pattern) string {
		t.Helper()
		token, stored := credentials.NewToken()
		if err := credentials.Create(t.Context(), f.js, credentials.Credential{
			Name: name, Kind: kind, Devices: []credentials.Pattern{p}, Tokens: []credentials.Token{stored}, State: state, Created: time.Now(),
		}); err != nil {
			t.Fatal(err)
		}
		return token
	}
	f.gone = create("gone", credentials.KindDevice, credentials.StateRevoked, credentials.Pattern{Site: "hall", Device: "gone"})
	f.gateway = create("gw", credentials.KindGateway, credentials.StateAllowed, credentials.Pattern{Site: "yard", Device: credentials.Any})
	f.door = create("door-1", credentials.KindDevice, credentials.StateAllowed, credentials.Pattern{Site: "hall", Device: "door-1"})
	streamtest.Eventually(t, "the last credential is taken", func() bool {
		status, reasons := f.send(t, nothing, "hall/door-1")
		if status == http.StatusUnauthorized {
			status, _ = f.send(t, bearer(f.door), "hall/door-1")
			return status == http.StatusAccepted
		}
		return reasons[0] == "foreign"
	})
	f.ready()
	return f
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(name, token string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, token) }
}

func nothing(*http.Request) {}

// send posts a reading of each device, and returns the status and the reasons of the
// refused items by index.
func (f senders) send(t *testing.T, authorize func(*http.Request), devices ...string) (int, map[int]string) {
	t.Helper()
	var items []string
	for _, d := range devices {
		site, device, _ := strings.Cut(d, "/")
		items = append(items, `{"site":"`+site+`","device":"`+device+`","metric":"t","value":1}`)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.http.URL+gateway.Path, strings.NewReader("["+strings.Join(items, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	authorize(r)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Errors []struct {
			Index  int    `json:"index"`
			Reason string `json:"reason"`
		} `json:"errors"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	reasons := make(map[int]string)
	for _, e := range answer.Errors {
		reasons[e.Index] = e.Reason
	}
	if (res.StatusCode == http.StatusUnauthorized) != (res.Header.Get("WWW-Authenticate") != "") {
		t.Errorf("status %d with WWW-Authenticate %q", res.StatusCode, res.Header.Get("WWW-Authenticate"))
	}
	return res.StatusCode, reasons
}

func TestSenderSpeaksForItsDevicesOnly(t *testing.T) {
	f := withCredentials(t)
	for name, test := range map[string]struct {
		authorize func(*http.Request)
		devices   []string
		status    int
		reasons   map[int]string
	}{
		"bearer":             {bearer(f.door), []string{"hall/door-1"}, 202, nil},
		"basic":              {basic("door-1", f.door), []string{"hall/door-1"}, 202, nil},
		"of others":          {bearer(f.door), []string{"hall/door-2", "hall/door-1", "yard/door-1"}, 202, map[int]string{0: "foreign", 2: "foreign"}},
		"of others only":     {bearer(f.door), []string{"hall/door-2"}, 400, map[int]string{0: "foreign"}},
		"gateway":            {bearer(f.gateway), []string{"yard/a", "hall/a"}, 202, map[int]string{1: "foreign"}},
		"wrong token":        {bearer("guess"), []string{"hall/door-1"}, 401, nil},
		"wrong password":     {basic("door-1", "guess"), []string{"hall/door-1"}, 401, nil},
		"token of another":   {basic("door-1", f.gateway), []string{"hall/door-1"}, 401, nil},
		"revoked":            {bearer(f.gone), []string{"hall/gone"}, 401, nil},
		"nobody":             {nothing, []string{"hall/x", "hall/door-1", "hall/gone"}, 202, map[int]string{1: "foreign", 2: "foreign"}},
		"user of a proxy":    {basic("proxy", "x"), []string{"hall/x"}, 202, nil},
		"another scheme":     {func(r *http.Request) { r.Header.Set("Authorization", "Digest x") }, []string{"hall/x"}, 202, nil},
		"scheme in any case": {func(r *http.Request) { r.Header.Set("Authorization", "bearer "+f.door) }, []string{"hall/door-1"}, 202, nil},
	} {
		status, reasons := f.send(t, test.authorize, test.devices...)
		if status != test.status || len(reasons) != len(test.reasons) {
			t.Errorf("%s: status %d, refused %v, want %d, %v", name, status, reasons, test.status, test.reasons)
		}
		for i, reason := range test.reasons {
			if reasons[i] != reason {
				t.Errorf("%s: item %d is refused for %q, want %q", name, i, reasons[i], reason)
			}
		}
	}
}

// TestAWrongTokenIsRefused although no credential exists yet: the sender of one believes to
// be known.
func TestAWrongTokenIsRefused(t *testing.T) {
	f := senders{fixture: run(t)}
	f.ready()
	for name, test := range map[string]struct {
		authorize func(*http.Request)
		status    int
	}{
		"bearer":          {bearer("guess"), 401},
		"InfluxDB":        {func(r *http.Request) { r.Header.Set("Authorization", "Token guess") }, 401},
		"empty":           {func(r *http.Request) { r.Header.Set("Authorization", "Token ") }, 202},
		"nothing":         {nothing, 202},
		"user of a proxy": {basic("proxy", "x"), 202},
	} {
		if status, _ := f.send(t, test.authorize, "hall/x"); status != test.status {
			t.Errorf("%s: status %d, want %d", name, status, test.status)
		}
	}
}

func TestUnknownSenders(t *testing.T) {
	f := withCredentials(t)
	if err := credentials.SetUnknown(t.Context(), f.js, credentials.Unknown{
		{Devices: credentials.Pattern{Site: "attic", Device: credentials.Any}, Standing: credentials.StandingQuarantined},
		{Devices: credentials.Pattern{Site: credentials.Any, Device: credentials.Any}, Standing: credentials.StandingRefused},
	}); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "unknown devices are refused", func() bool {
		_, reasons := f.send(t, nothing, "attic/a", "cellar/a", "yard/a")
		return len(reasons) == 2 && reasons[0] == "quarantined" && reasons[1] == "unwanted"
	})
}

func TestAnonymousSenders(t *testing.T) {
	for policy, want := range map[gateway.Anonymous]int{
		gateway.AnonymousAny: 202, gateway.AnonymousLoopback: 202, gateway.AnonymousNone: 401,
	} {
		t.Run(string(policy), func(t *testing.T) {
			f := withCredentials(t, func(c *gateway.Config) { c.Anonymous = policy })
			if status, _ := f.send(t, nothing, "hall/x"); status != want {
				t.Errorf("on loopback: status %d, want %d", status, want)
			}
			if status, _ := f.send(t, bearer(f.door), "hall/door-1"); status != 202 {
				t.Errorf("with a token: status %d", status)
			}
		})
	}
}
