package sandbox

import "strconv"

// The words from which people and jobs are made. All are invented or common; some
// hold what careless readers break on: accents, quotes, scripts, emoji.

func firstNames() []string {
	return []string{
		"Ada", "Amara", "Björn", "Chloé", "Dmitri", "Elif", "Fatima", "Grace", "Hiroshi", "Ingrid",
		"José", "Kwame", "Lena", "Mei", "Nadia", "Oluwaseun", "Priya", "Quentin", "Rosa", "Søren",
		"Tomasz", "Uma", "Víctor", "Wanjiru", "Xin", "Yara", "Zoë", "李", "Анна", "Siobhán",
	}
}

func lastNames() []string {
	return []string{
		"Example", "Sample", "O'Placeholder", "Müller-Test", "Lorem", "Ipsum", "Núñez", "van der Muster",
		"Okonkwo", "Tanaka", "Kowalczyk", "Svensson", "Haddad", "Fernandes", "\"Ace\" Doe", "Smith", "Nguyễn",
		"Öztürk", "Иванова", "华",
	}
}

func companies() []string {
	return []string{"Example Works", "Sample Labs", "Acme & Söhne", "Northwind", "Contoso", "Globex", "Initech", "Umbrella <Test>", "Hooli 🚀"}
}

func cities() []string {
	return []string{"Berlin", "San Francisco", "São Paulo", "Zürich", "Nairobi", "Tokyo", "Remote", "Kraków"}
}

func levels() []string { return []string{"", "Senior ", "Staff ", "Junior ", "Lead "} }

func jobs() []job {
	return []job{
		{"Platform Engineer", "Infrastructure", "Engineering"},
		{"Data Engineer", "Data", "Engineering"},
		{"Frontend Engineer", "Web", "Engineering"},
		{"Product Designer", "Design", "Product"},
		{"Product Manager", "Product", "Product"},
		{"Account Executive", "Sales EMEA", "Sales"},
		{"Support Specialist", "Customer Care", "Operations"},
		{"People Partner", "People", "G&A"},
		{"Controller", "Finance", "G&A"},
	}
}

type job struct{ title, team, department string }

func commitments() []string { return []string{"Full-time", "Part-time", "Contract", "Internship"} }

// A person is somebody's name and addresses.
type person struct {
	name, email, phone string
}

// personOf invents the n-th person.
func personOf(seed uint64, k kind, n int) person {
	d := throw(seed, k, n)
	number := strconv.Itoa(n)
	return person{
		name:  pick(&d, firstNames()) + " " + pick(&d, lastNames()),
		email: "person" + number + "@example.test",
		phone: "(555) 01" + strconv.Itoa(10+d.below(90)) + "-" + number,
	}
}
