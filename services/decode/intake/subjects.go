package intake

import (
	"slices"
	"strings"

	"headwater/services/decode"
	"headwater/services/decode/mapping"
)

// sparkplug begins the topics of Sparkplug B, whose second level is the site.
const sparkplug = "spBv1.0/"

// Subjects returns the subjects of nats-server that cover the topics of the formats and
// the declared mappings on which a device of a site sends, or, as "*", all devices. Those
// of a format are of the site that is declared for them.
func Subjects(mappings mapping.Set, site, device string) []string {
	var all []string
	add := func(pattern string) {
		topic := strings.ReplaceAll(pattern, "{device}", device)
		if rest, ok := strings.CutPrefix(topic, sparkplug+"+/"); ok {
			all = append(all, subjects(sparkplug+star(site)+"/"+rest)...)
			return
		}
		if of(mappings, topic, site) {
			all = append(all, subjects(topic)...)
		}
	}
	for _, f := range decode.Formats() {
		for _, p := range f.Topics {
			add(p)
		}
	}
	all = append(all, mapped(mappings, site, device)...)
	slices.Sort(all)
	return slices.Compact(all)
}

// mapped returns the subjects of a device of a site on which the declared mappings read its
// name from the topic alone.
func mapped(mappings mapping.Set, site, device string) (all []string) {
	for _, m := range mappings {
		of := site
		if m.Site == "" && site == decode.Home {
			of = "" // the site of a mapping that names none
		}
		if m.Device != "" && m.For(of, device) {
			all = append(all, m.Subjects(of, device)...)
		}
	}
	return all
}

// Guards returns subjects that cover what nobody else may send on: those of a device on
// whose topics the payload names no other.
func Guards(mappings mapping.Set, site, device string) []string {
	if device == "*" {
		return nil
	}
	all := mapped(mappings, site, device)
	if reserved(device) {
		return all
	}
	all = append(all, subjects(sparkplug+star(site)+"/+/"+device+"/#")...)
	for _, topic := range []string{device + "/#", "tele/" + device + "/#", "stat/" + device + "/#", "zigbee2mqtt/" + device + "/#", "shellies/" + device + "/#"} {
		if of(mappings, topic, site) {
			all = append(all, subjects(topic)...)
		}
	}
	return all
}

// reserved reports whether a name begins the topics of a format, so that it stands for no
// device there.
func reserved(name string) bool {
	return name == "sensors" || slices.ContainsFunc(decode.Formats(), func(f decode.Format) bool {
		return slices.ContainsFunc(f.Topics, func(p string) bool { return strings.HasPrefix(p, name+"/") })
	})
}

// of reports whether the devices of a topic of a format are of the site.
func of(mappings mapping.Set, topic, site string) bool {
	if site == "*" {
		return true
	}
	by, declared := mappings.Find(strings.NewReplacer("+", "x", "#", "x").Replace(topic))
	if by != nil {
		return false
	}
	if declared == "" {
		declared = decode.Home
	}
	return declared == site
}

func star(name string) string {
	if name == "*" {
		return "+"
	}
	return name
}

// subjects returns the subjects of a filter of MQTT: one that ends in # covers the level
// above, too.
func subjects(filter string) []string {
	rest, all := strings.CutSuffix(filter, "/#")
	subject := strings.NewReplacer("/", ".", ".", "//", "+", "*").Replace(rest)
	if !all {
		return []string{subject}
	}
	if strings.Count(rest, "/") == 0 {
		return []string{subject + ".>"}
	}
	return []string{subject, subject + ".>"}
}
