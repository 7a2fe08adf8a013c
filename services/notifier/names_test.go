package notifier

import (
	"testing"

	said "headwater/services/internal/about"
	"headwater/services/internal/config"
	"headwater/services/internal/registry"
	"headwater/services/notifier/channel"
	"headwater/streams/streamtest"
)

// TestMessagesCallDevicesAsPeopleDo says what a device is on its page, and where in the
// configuration file.
func TestMessagesCallDevicesAsPeopleDo(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	n := &names{js: s.JS(t)}
	_, err := registry.SetAbout(t.Context(), n.js, "hall", "d-1", func(said.About) (said.About, error) {
		return said.About{Name: "Front door", Room: "Attic"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("test", []byte("devices:\n  - {match: {site: hall}, room: Hall}\n"))
	if err != nil {
		t.Fatal(err)
	}
	n.config.Store(c)
	m := channel.Message{
		Title: "Warning: Too warm (d-1)", Body: "30 °C.",
		Alerts: []channel.Alert{{Site: "hall", Device: "d-1"}, {Site: "hall", Device: "d-1"}, {Site: "shed", Device: "d-2"}},
	}
	n.call(t.Context(), &m)
	if m.Title != "Warning: Too warm (Front door)" || m.Body != "30 °C.\nd-1 is Front door, in Hall" {
		t.Errorf("%q, %q", m.Title, m.Body)
	}
	if a := m.Alerts[1]; a.DeviceName != "Front door" || a.Room != "Hall" || m.Alerts[2].DeviceName != "" {
		t.Errorf("%+v", m.Alerts)
	}
}
