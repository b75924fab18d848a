//! WHIP (RFC 9725) without redirections and trickling.

use crate::Result;

pub struct Whip {
    url: String,
    authorization: String,
    resource: String,
}

impl Whip {
    pub fn new(url: &str, bearer: &str) -> Self {
        let authorization = format!("Bearer {bearer}");
        Whip {
            url: url.to_owned(),
            authorization,
            resource: String::new(),
        }
    }

    /// Offers; the answer.
    pub fn publish(&mut self, offer: &str) -> Result<String> {
        let mut response = ureq::post(&self.url)
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/sdp")
            .send(offer)?;
        let location = response
            .headers()
            .get("Location")
            .ok_or("no Location")?
            .to_str()?;
        // It is an absolute path or a whole URL here.
        let host_end = self.url[8..].find('/').ok_or("no path")? + 8;
        self.resource = match location.starts_with('/') {
            true => format!("{}{location}", &self.url[..host_end]),
            false => location.to_owned(),
        };
        Ok(response.body_mut().read_to_string()?)
    }

    /// Ends the session; the status of the answer.
    pub fn leave(&self) -> Result<u16> {
        let request = ureq::delete(&self.resource).header("Authorization", &self.authorization);
        Ok(request.call()?.status().as_u16())
    }
}
