package devices

import (
	"strconv"
	"strings"
)

// shownDevices is how many devices of a gateway a row names.
const shownDevices = 4

// speaksFor names the devices of a credential.
func speaksFor(c Credential) string {
	names := strings.Join(c.Devices[:min(len(c.Devices), shownDevices)], ", ")
	if more := len(c.Devices) - shownDevices; more > 0 {
		names += " and " + strconv.Itoa(more) + " more"
	}
	return names
}

// proof says in a few words how a device shows who it is.
func proof(c Credential) string {
	var parts []string
	switch {
	case c.Tokens == 1:
		parts = append(parts, "password")
	case c.Tokens > 1:
		parts = append(parts, "two passwords")
	}
	if c.URI != "" || c.Fingerprint != "" {
		parts = append(parts, "certificate")
	}
	if len(parts) == 0 {
		return "none: approved as it is"
	}
	return strings.Join(parts, ", ")
}
