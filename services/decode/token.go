package decode

// longestToken is the greatest length of the name of a site, device or metric.
const longestToken = 64

// checkToken returns what is wrong with the name of a site, device or metric.
func checkToken[T []byte | string](field string, name T) *Error {
	switch {
	case len(name) == 0:
		return refuse(field, "the name is empty")
	case len(name) > longestToken:
		return refuse(field, "the name %s has %d bytes, more than %d", quote(name), len(name), longestToken)
	}
	for i := range len(name) {
		if !tokenCharacter(name[i]) {
			return refuse(field, "the name %s has characters other than A-Z, a-z, 0-9, _ and -", quote(name))
		}
	}
	return nil
}

func tokenCharacter(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || c == '_' || c == '-'
}
