// Sends flow records over TCP or TLS with the library by which Antrea and NetObserv export theirs.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vmware/go-ipfix/pkg/entities"
	"github.com/vmware/go-ipfix/pkg/exporter"
	"github.com/vmware/go-ipfix/pkg/registry"
)

func main() {
	to := flag.String("to", "127.0.0.1:4739", "where to")
	records := flag.Int("records", 100, "flow records")
	ca := flag.String("ca", "", "PEM file of the authority of the collector; with it, over TLS")
	cert := flag.String("cert", "", "PEM file of the exporter's certificate")
	key := flag.String("key", "", "PEM file of its key")
	flag.Parse()
	if err := send(*to, *records, *ca, *cert, *key); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send(to string, records int, ca, cert, key string) error {
	registry.LoadRegistry()
	input := exporter.ExporterInput{
		CollectorAddress:    to,
		CollectorProtocol:   "tcp",
		ObservationDomainID: 1,
	}
	if ca != "" {
		tls := &exporter.ExporterTLSClientConfig{}
		for _, file := range []struct {
			name string
			into *[]byte
		}{{ca, &tls.CAData}, {cert, &tls.CertData}, {key, &tls.KeyData}} {
			if file.name == "" {
				continue
			}
			octets, err := os.ReadFile(file.name)
			if err != nil {
				return err
			}
			*file.into = octets
		}
		input.TLSClientConfig = tls
	}
	process, err := exporter.InitExportingProcess(input)
	if err != nil {
		return err
	}
	defer process.CloseConnToCollector()
	template := process.NewTemplateID()
	row, err := values(0)
	if err != nil {
		return err
	}
	var fields []entities.InfoElementWithValue
	for _, field := range row {
		empty, err := entities.DecodeAndCreateInfoElementWithValue(field.GetInfoElement(), nil)
		if err != nil {
			return err
		}
		fields = append(fields, empty)
	}
	if err := sendSet(process, entities.Template, template, [][]entities.InfoElementWithValue{fields}); err != nil {
		return err
	}
	// Several records to a message, as Antrea's aggregator sends them.
	for sent := 0; sent < records; {
		var rows [][]entities.InfoElementWithValue
		for len(rows) < 10 && sent < records {
			row, err := values(sent)
			if err != nil {
				return err
			}
			rows = append(rows, row)
			sent++
		}
		if err := sendSet(process, entities.Data, template, rows); err != nil {
			return err
		}
	}
	return nil
}

func sendSet(process *exporter.ExportingProcess, kind entities.ContentType, template uint16, rows [][]entities.InfoElementWithValue) error {
	set := entities.NewSet(false)
	if err := set.PrepareSet(kind, template); err != nil {
		return err
	}
	for _, row := range rows {
		if err := set.AddRecord(row, template); err != nil {
			return err
		}
	}
	_, err := process.SendSet(set)
	return err
}

func values(number int) ([]entities.InfoElementWithValue, error) {
	now := uint32(time.Now().Unix())
	var fields []entities.InfoElementWithValue
	add := func(name string, enterprise uint32, value func(*entities.InfoElement) entities.InfoElementWithValue) error {
		element, err := registry.GetInfoElement(name, enterprise)
		if err != nil {
			return err
		}
		fields = append(fields, value(element))
		return nil
	}
	address := func(last byte) func(*entities.InfoElement) entities.InfoElementWithValue {
		return func(e *entities.InfoElement) entities.InfoElementWithValue {
			return entities.NewIPAddressInfoElement(e, net.IPv4(10, 0, 0, last).To4())
		}
	}
	port := func(port uint16) func(*entities.InfoElement) entities.InfoElementWithValue {
		return func(e *entities.InfoElement) entities.InfoElementWithValue {
			return entities.NewUnsigned16InfoElement(e, port)
		}
	}
	seconds := func(at uint32) func(*entities.InfoElement) entities.InfoElementWithValue {
		return func(e *entities.InfoElement) entities.InfoElementWithValue {
			return entities.NewDateTimeSecondsInfoElement(e, at)
		}
	}
	count := func(count uint64) func(*entities.InfoElement) entities.InfoElementWithValue {
		return func(e *entities.InfoElement) entities.InfoElementWithValue {
			return entities.NewUnsigned64InfoElement(e, count)
		}
	}
	text := func(text string) func(*entities.InfoElement) entities.InfoElementWithValue {
		return func(e *entities.InfoElement) entities.InfoElementWithValue {
			return entities.NewStringInfoElement(e, text)
		}
	}
	protocol := func(e *entities.InfoElement) entities.InfoElementWithValue {
		return entities.NewUnsigned8InfoElement(e, 6)
	}
	for _, field := range []struct {
		name       string
		enterprise uint32
		value      func(*entities.InfoElement) entities.InfoElementWithValue
	}{
		{"sourceIPv4Address", registry.IANAEnterpriseID, address(1)},
		{"destinationIPv4Address", registry.IANAEnterpriseID, address(2)},
		{"sourceTransportPort", registry.IANAEnterpriseID, port(uint16(1024 + number))},
		{"destinationTransportPort", registry.IANAEnterpriseID, port(443)},
		{"protocolIdentifier", registry.IANAEnterpriseID, protocol},
		{"flowStartSeconds", registry.IANAEnterpriseID, seconds(now - 2)},
		{"flowEndSeconds", registry.IANAEnterpriseID, seconds(now - 1)},
		{"packetDeltaCount", registry.IANAEnterpriseID, count(3)},
		{"octetDeltaCount", registry.IANAEnterpriseID, count(1500)},
		{"sourcePodName", registry.AntreaEnterpriseID, text("client")},
		{"destinationPodName", registry.AntreaEnterpriseID, text("server")},
	} {
		if err := add(field.name, field.enterprise, field.value); err != nil {
			return nil, err
		}
	}
	return fields, nil
}
