//! A question to `InfluxDB`: a Flux query. Address, organisation and token are in a Secret of the controller's.

use std::time::Duration;

use super::access;
use super::http::{HttpMethod, HttpQuery, HttpRequest, Reading};
use super::profile::Profile;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::{Keyring, Secret};
use crate::analysis::value::Value;
use crate::api::metric_provider::InfluxdbMetric;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The Secret when `profile` names none.
const PROFILE: &str = "influxdb";

/// Reads a question whose arguments are put in.
pub(super) fn parse(wire: &InfluxdbMetric, keys: &mut Keyring<'_>) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    let name = access::text(wire.profile.as_ref()).unwrap_or_else(|| PROFILE.to_owned());
    let mut profile = Profile::of_controller("profile", name, keys);
    let address = profile.open("address", "http://unread");
    let (token, org) = (profile.secret("authToken"), profile.open("org", "unread"));
    problems.extend(profile.into_problems());
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut url = access::url("profile", &address, "api/v2/query").map_err(|problem| vec![problem])?;
    url.query_pairs_mut().append_pair("org", &org);
    let request = HttpRequest {
        method: HttpMethod::Post,
        body: Some((Some("application/vnd.flux"), Secret::new(query))),
        ..HttpRequest::get(url.into(), TIMEOUT)
    };
    let request = request
        .with_header("Authorization", format!("Token {token}"))
        .with_header("Accept", "application/csv".to_owned());
    Ok(HttpQuery { server: "InfluxDB", request, reading: Reading::InfluxDb, is_secret_address: true })
}

/// The numbers in the column `_value` of every table, row by row. Tables are CSV with a header each, between empty
/// lines; what `InfluxDB` finds wrong while it answers is a table with a column `error`.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|_| "its answer is not text".to_owned())?;
    if text.trim_start().starts_with(['<', '{']) {
        return Err("its answer is not CSV; is the address that of an InfluxDB?".to_owned());
    }
    let mut numbers = Vec::new();
    for table in text.replace("\r\n", "\n").split("\n\n").filter(|table| !table.trim().is_empty()) {
        read_table(table, &mut numbers)?;
    }
    Ok(Value::Numbers(numbers))
}

fn read_table(table: &str, numbers: &mut Vec<f64>) -> Result<(), String> {
    let mut reader =
        csv::ReaderBuilder::new().comment(Some(b'#')).flexible(true).from_reader(table.as_bytes());
    let unreadable = |why: csv::Error| format!("its answer is not CSV: {why}");
    let header = reader.headers().map_err(unreadable)?.clone();
    let column = |name: &str| header.iter().position(|column| column == name);
    let value = column("_value");
    // A tag may be called so, too.
    let error = column("error").filter(|_| value.is_none());
    let value = value.or(error).ok_or("its answer has no column _value")?;
    for row in reader.records() {
        let row = row.map_err(unreadable)?;
        if let Some(why) = error.and_then(|error| row.get(error)).filter(|why| !why.is_empty()) {
            return Err(format!("it refused the query: {why}"));
        }
        // An empty field is a null.
        let Some(text) = row.get(value).filter(|text| !text.is_empty()) else { continue };
        numbers.push(text.parse().map_err(|_| format!("'{text}' in its column _value is not a number"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::secrets::{Home, SecretKey, SecretSource, Secrets};

    #[test]
    fn a_query_goes_to_the_organisation_of_its_profile() {
        let key =
            |key: &str| SecretKey { home: Home::Controller, name: "mine".to_owned(), key: key.to_owned() };
        let value = |text: &str| Ok(Some(Secret::new(text)));
        let secrets = Secrets::from([
            (key("address"), value("https://influx:8086/")),
            (key("authToken"), value("t")),
            (key("org"), value("my shop")),
        ]);
        let wire =
            InfluxdbMetric { profile: Some("mine".to_owned()), query: Some("from(bucket: b)".to_owned()) };
        let request = parse(&wire, &mut Keyring::new(SecretSource::Read(&secrets))).unwrap().request;
        assert_eq!(request.url, "https://influx:8086/api/v2/query?org=my+shop");
        let (content, body) = request.body.unwrap();
        assert_eq!((content, body.reveal()), (Some("application/vnd.flux"), "from(bucket: b)"));
        let headers: Vec<_> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        assert_eq!(headers, [("Authorization", "Token t"), ("Accept", "application/csv")]);
    }

    #[test]
    fn the_numbers_of_all_tables_are_the_value() {
        let answer = ",result,table,_time,_value\r\n,_result,0,t,0.5\r\n,_result,0,t,\r\n\r\n\
                      #datatype,string,long,double\r\n,result,table,_value\r\n,_result,1,+Inf\r\n,_result,1,2\r\n\r\n";
        assert_eq!(read(answer.as_bytes()), Ok(Value::Numbers(vec![0.5, f64::INFINITY, 2.0])));
        assert_eq!(read(b"\r\n"), Ok(Value::Numbers(vec![])));
        assert_eq!(
            read(b",result,table,_value,error\r\n,_result,0,1,false\r\n"),
            Ok(Value::Numbers(vec![1.0]))
        );
        for (answer, message) in [
            (",error,reference\r\n,no such bucket,12\r\n", "it refused the query: no such bucket"),
            (",result,table,value\r\n,_result,0,1\r\n", "its answer has no column _value"),
            (",_value\r\n,much\r\n", "'much' in its column _value is not a number"),
            ("<html>", "its answer is not CSV; is the address that of an InfluxDB?"),
        ] {
            assert_eq!(read(answer.as_bytes()).unwrap_err(), message);
        }
    }
}
