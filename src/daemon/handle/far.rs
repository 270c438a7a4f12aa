//! The other side of a push or fetch: a store that is only storage, or a hub that answers questions.

use std::collections::HashSet;
use std::path::Path;

use crate::backend::Backend;
use crate::daemon::message::{Failure, RemotePlace};
use crate::daemon::{cloud, words};
use crate::draft::Draft;
use crate::id::Oid;
use crate::peer::{self, HubPlace, Line};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;
use crate::sync::{self, Moved, Remote};

/// A remote, and what is known of it.
pub enum Far {
    Store { place: RemotePlace, remote: Box<Remote> },
    Hub { place: HubPlace, line: Line },
}

/// What holds the files of a store that is only storage.
pub fn storage(place: &RemotePlace, scratch: &Path) -> Result<Box<dyn Backend>, Failure> {
    cloud::files(place, scratch).ok_or_else(|| words::no_storage(&place.name()))
}

impl Far {
    /// Nothing is asked yet.
    pub fn at(place: &RemotePlace, scratch: &Path) -> Result<Far, Failure> {
        if let RemotePlace::Hub(place) = place {
            let line = Line::to(place).map_err(|error| words::line(&error))?;
            return Ok(Far::Hub { place: place.clone(), line });
        }
        let files = storage(place, scratch)?;
        Ok(Far::Store { place: place.clone(), remote: Box::new(Remote::new(files)) })
    }

    /// Whether this leads to that place, with the rights that the place names now.
    pub fn leads_to(&self, place: &RemotePlace) -> bool {
        match (self, place) {
            (Far::Store { place: known, .. }, place) => known == place,
            (Far::Hub { place: known, .. }, RemotePlace::Hub(place)) => known == place,
            _ => false,
        }
    }

    pub fn push(&mut self, store: &Store, oid: Oid, progress: &Progress<'_>) -> Result<Moved, Failure> {
        match self {
            Far::Store { remote, .. } => {
                sync::push(store, remote, oid, progress).map_err(|error| words::sync(&error))
            }
            Far::Hub { line, .. } => {
                peer::push(store, line, oid, progress).map_err(|error| words::peer(&error))
            }
        }
    }

    /// The objects of a file, into the store. `soon` are files that are wanted besides; `draft` is begun, and what is
    /// decoded on the way is written to it.
    pub fn fetch(
        &mut self,
        store: &Store,
        oid: Oid,
        soon: &dyn Fn() -> HashSet<Oid>,
        draft: Option<&mut Draft>,
        progress: &Progress<'_>,
    ) -> Result<Recipe, Failure> {
        let done = match self {
            Far::Store { remote, .. } => {
                let fetched = sync::fetch(store, remote, oid, progress).map_err(|error| words::sync(&error));
                if let (Ok((recipe, _)), Some(draft)) = (&fetched, draft) {
                    draft.begin(recipe);
                }
                fetched
            }
            Far::Hub { line, .. } => {
                let done = peer::fetch(store, line, oid, &soon(), draft, progress);
                done.map_err(|error| words::peer(&error))
            }
        };
        done.map(|(recipe, _)| recipe)
    }

    /// The same after damage: what is known of the remote is asked again.
    pub fn refetch(&mut self, store: &Store, oid: Oid, progress: &Progress<'_>) -> Result<Recipe, Failure> {
        if let Far::Store { remote, .. } = self {
            remote.refresh().map_err(|error| words::sync(&error))?;
        }
        self.fetch(store, oid, &HashSet::new, None, progress)
    }

    pub fn has_all(&mut self, oids: &[Oid], progress: &Progress<'_>) -> Result<Vec<bool>, Failure> {
        match self {
            Far::Store { remote, .. } => sync::has_all(remote, oids).map_err(|error| words::sync(&error)),
            Far::Hub { line, .. } => peer::has_all(line, oids, progress).map_err(|error| words::peer(&error)),
        }
    }
}
