package main

import (
	"strings"

	"headwater/services/bridge/login"
	"headwater/services/internal/process"
)

// dangers are what would let strangers in. None is one while only this machine reaches it.
func (c Config) dangers() ([]process.Danger, error) {
	var out []process.Danger
	add := func(what, do string) { out = append(out, process.Danger{What: what, Do: do}) }
	if process.Exposed(c.MQTT) {
		if c.Bridge.Anonymous == login.AnonymousAny {
			add("devices at other machines may connect without a password (--mqtt-anonymous any)",
				"leave that flag out and give the devices a user with --mqtt-user and --mqtt-password-file")
		}
		known, err := c.Bridge.Dangers()
		if err != nil {
			return nil, err
		}
		out = append(out, known...)
	}
	if process.Exposed(c.HTTP) && !c.TLS.On() && !strings.HasPrefix(c.Notifier.PublicURL, "https://") {
		add("people at other machines would send their passwords unencrypted (--http "+c.HTTP+")",
			"add --tls auto; or put a proxy with TLS in front and name it with --public-url https://NAME; or let --http be 127.0.0.1:8080")
	}
	if c.Profiles && process.Exposed(c.HTTP) {
		add("--profiles shows the memory of the process to other machines", "leave it out, or let --http be 127.0.0.1:8080")
	}
	return out, nil
}
